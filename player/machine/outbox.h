// What the machine has to say to the player unasked. Other threads, above all the vCPU's, leave it here and
// go on; a thread of its own sends it. Queues are bounded: a player that takes
// nothing loses sound first.
#pragma once
#include "player/machine/channel.h"
#include "vmm/bus/ports.h"

#include <condition_variable>
#include <deque>
#include <functional>
#include <thread>

namespace machine {

class Outbox final : public vmm::CharPort, public vmm::AudioPort {
  public:
    explicit Outbox(Channel& channel);
    ~Outbox() override;

    void send(uint8_t byte) override;
    void play(std::span<const int16_t> samples, uint32_t rate) override;
    void silence() override;
    void notice(const std::string& text);
    void damaged(const base::Error& error);
    void stalled(const std::string& why);

    // The machine's state may have changed. `look` says what it is, and is asked by the thread that sends.
    void set_look(std::function<State()> look);
    void state_changed();

    // After everything that was said before.
    void answer(uint32_t number, std::span<const uint8_t> body);

  private:
    struct Item {
        Kind kind;
        std::vector<uint8_t> body;
    };
    void add(Item item);
    void work();
    void flush();

    Channel& channel_;
    std::mutex sending_; // held while what waits is taken and sent, so that its order stays
    std::mutex mutex_;   // guards what follows
    std::condition_variable changed_;
    std::vector<uint8_t> serial_;
    std::deque<Item> items_;
    size_t sounds_ = 0; // of the items
    bool state_changed_ = false, ended_ = false;
    std::function<State()> look_;
    std::thread thread_; // last: starts when everything above exists
};

} // namespace machine
