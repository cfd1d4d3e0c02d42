// The player's side of a machine: what vmm::Machine does, done in a process of its own. Everything public may
// be called from any thread. What a guest that has taken its process over may send is checked, bounded, and
// believed for what it is: a picture, some text, a number.
//
// Questions have no errors of their own. When the process is gone they answer with nothing, and exit_reason()
// says HostError; a session asks for that twenty times a second.
#pragma once
#include "player/machine/channel.h"
#include "player/machine/shared_memory.h"
#include "vmm/bus/ports.h"
#include "vmm/jail/walls.h"

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <thread>

namespace machine {

// Who hears of what the machine says unasked: on a thread of the client's, which they must not hold up, and
// which must not ask the machine anything.
struct Listeners {
    std::shared_ptr<vmm::CharPort> serial;
    std::shared_ptr<vmm::AudioPort> audio;
    std::function<void(const std::string&)> notice{};      // for the person
    std::function<void(const base::Error&)> damaged{};     // a read of the bundle failed
    std::function<void(const std::string& why)> stalled{}; // writes wait for room; empty: no more
};

class Client {
  public:
    // Starts the process, and returns before it runs; set_up() says whether it does.
    static base::Result<std::shared_ptr<Client>> start(Listeners listeners);
    // The same with a machine's process that somebody else has: what the tests play.
    static base::Result<std::shared_ptr<Client>> with(base::UniqueFd socket, Listeners listeners);
    ~Client(); // kills it

    // Once, and first. `files` are what the numbers in it mean; setup.shared is filled in here.
    base::Result<void> set_up(Setup setup, std::vector<int> files);

    void start();
    void pause(); // returns when the machine is at rest
    void stop();  // returns at once
    void reset();
    void power_button();
    void wait_for_end(); // not for long: what does not end is ended

    [[nodiscard]] vmm::ExitReason exit_reason() const;
    [[nodiscard]] bool has_ended() const;
    [[nodiscard]] base::Error failure() const;
    [[nodiscard]] uint64_t reset_count() const;

    void key(const vmm::KeyEvent& event);
    [[nodiscard]] bool takes_key(const vmm::KeyEvent& event);
    void pointer(const vmm::PointerEvent& event);
    void serial_input(std::string_view bytes);
    [[nodiscard]] bool pointer_is_absolute();

    [[nodiscard]] vmm::Picture picture();
    [[nodiscard]] std::string text_screen();
    [[nodiscard]] uint64_t picture_generation();
    void prefer_picture_size(uint32_t width, uint32_t height);

    // At rest. Back to the moment it was opened at, disks too.
    base::Result<void> revert();
    base::Result<void> compare(); // see Compare
    void arrive(const vmm::Arrival& arrival);
    // `files`: as Freeze has it.
    base::Result<Frozen> freeze(const std::vector<int>& files);
    [[nodiscard]] uint64_t time_of_day();
    [[nodiscard]] uint32_t tsc_khz();

    // Writes that found no room on the host's disk.
    [[nodiscard]] std::string stalled() const; // why they wait; empty: none does
    void order_writes(Writes::Order order);
    [[nodiscard]] uint64_t overlay_bytes() const;

    [[nodiscard]] vmm::Activity activity();
    [[nodiscard]] vmm::CodeUse code_use();
    // Which pages of its scene are fetched, from now on; the machine has not run.
    void record_fetches();
    [[nodiscard]] FetchList fetches();
    // At rest; for tests and measurements. Nothing: it has no such memory.
    [[nodiscard]] std::vector<uint8_t> read_memory(uint64_t offset, uint32_t length);
    template <class T> T read(uint64_t offset) {
        T value{};
        if (const auto bytes = read_memory(offset, sizeof value); bytes.size() == sizeof value)
            std::memcpy(&value, bytes.data(), sizeof value);
        return value;
    }
    void write_memory(uint64_t physical, std::vector<uint8_t> bytes);
    template <class T> void write(uint64_t physical, T value) {
        const auto* bytes = reinterpret_cast<const uint8_t*>(&value);
        write_memory(physical, {bytes, bytes + sizeof value});
    }
    [[nodiscard]] pid_t process() const;     // 0: none
    [[nodiscard]] jail::Walls walls() const; // around it, as it says

  private:
    struct Waiting; // a request's

    Client(base::UniqueFd socket, base::UniqueFd other, SharedMemory shared, Listeners listeners);
    template <class Request>
    base::Result<typename Request::Answer> ask(Request request, const std::vector<int>& files = {});
    base::Result<std::vector<uint8_t>> exchange(Kind kind, std::span<const uint8_t> body,
                                                const std::vector<int>& files);
    void work();
    base::Result<void> take(Message message);
    void lose(base::Error why);

    Channel channel_;
    base::UniqueFd other_; // the process's end, until it has it; not valid: somebody else has it
    SharedMemory shared_;
    Listeners listeners_;
    std::mutex picture_mutex_;    // one picture at a time is in the shared memory
    std::vector<uint32_t> spare_; // pages for the first picture

    mutable std::mutex mutex_; // guards what follows
    std::condition_variable changed_;
    State state_;
    std::string stalled_;
    std::map<uint32_t, Waiting*> waiting_;
    uint32_t last_number_ = 0;
    std::optional<std::chrono::steady_clock::time_point> stopped_;
    pid_t pid_ = 0;
    jail::Walls walls_;
    std::optional<base::Error> lost_;
    bool closing_ = false;
    std::thread thread_; // last: starts when everything above exists
};

} // namespace machine
