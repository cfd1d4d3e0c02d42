#include "player/machine/client.h"

#include "player/machine/process.h"
#include "vmm/base/log.h"
#include "vmm/base/quiet_thread.h"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>

namespace machine {
namespace {

using Clock = std::chrono::steady_clock;

// With a machine that does not answer. Disks that wake up take ten seconds, and a guest's page may be on one;
// what reads or writes all of a machine takes as long as disks do. Whoever has stopped it waits for neither.
struct Patience {
    std::chrono::seconds for_answer, after_stop;
};
constexpr Patience kPatience{std::chrono::seconds(20), std::chrono::seconds(2)};
constexpr Patience kLongPatience{std::chrono::seconds(900), std::chrono::seconds(20)};

const Patience& patience(Kind kind) {
    return kind == Kind::Freeze || kind == Kind::Compare || kind == Kind::Setup ? kLongPatience : kPatience;
}

base::Error gone(const std::string& how) {
    return {1, fmt::format("the machine's process {}; start the session again", how)};
}

} // namespace

struct Client::Waiting {
    Kind kind;
    std::optional<std::vector<uint8_t>> answer;
};

Client::Client(base::UniqueFd socket, base::UniqueFd other, SharedMemory shared, Listeners listeners)
    : channel_(std::move(socket), End::Player), other_(std::move(other)), shared_(std::move(shared)),
      listeners_(std::move(listeners)) {
    thread_ = base::quiet_thread([this] { work(); });
}

base::Result<std::shared_ptr<Client>> Client::start(Listeners listeners) {
    auto ends = TRY(Channel::pair());
    return std::shared_ptr<Client>(new Client(std::move(ends[0]), std::move(ends[1]),
                                              TRY(SharedMemory::create()), std::move(listeners)));
}

base::Result<std::shared_ptr<Client>> Client::with(base::UniqueFd socket, Listeners listeners) {
    return std::shared_ptr<Client>(
        new Client(std::move(socket), {}, TRY(SharedMemory::create()), std::move(listeners)));
}

Client::~Client() {
    {
        const std::lock_guard lock(mutex_);
        closing_ = true;
    }
    channel_.shut();
    thread_.join();
}

// ------------------------------------------------------------------------------------------- its thread

void Client::lose(base::Error why) {
    {
        const std::lock_guard lock(mutex_);
        lost_ = why;
        if (!state_.ended) {
            state_.reason = vmm::ExitReason::HostError;
            state_.failure = {why.code, why.message};
        }
        state_.ended = state_.stopped = true;
        stalled_.clear();
    }
    changed_.notify_all();
}

// The process is this thread's child: it ends with it.
void Client::work() {
    std::optional<Process> process;
    if (other_.valid()) {
        auto started = Process::start(other_);
        other_.reset();
        if (!started) {
            lose(started.error());
            return;
        }
        process.emplace(std::move(*started));
        {
            const std::lock_guard lock(mutex_);
            pid_ = process->pid();
        }
        // While it comes to life.
        const std::lock_guard lock(picture_mutex_);
        shared_.populate();
        spare_.resize(SharedMemory::kUsualPixels);
    }
    base::Result<void> good;
    for (;;) {
        auto message = channel_.receive();
        if (!message)
            good = tl::make_unexpected(message.error());
        if (!message || !*message)
            break;
        good = take(std::move(**message));
        if (!good)
            break;
    }
    channel_.shut(); // unblocks senders
    const std::string how = process ? process->end() : std::string("has gone");
    bool closing = false;
    {
        const std::lock_guard lock(mutex_);
        closing = closing_;
        pid_ = 0;
    }
    if (process)
        if (const std::string said = process->said(); !said.empty())
            base::log(closing ? base::LogLevel::Info : base::LogLevel::Warn, "the machine's process: {}",
                      said);
    if (!good)
        base::log(base::LogLevel::Warn, "the machine's process: {}", good.error().message);
    lose(gone(good ? how : "broke its rules and was ended"));
}

base::Result<void> Client::take(Message message) {
    const auto malformed = [&] {
        return base::fail(fmt::format("invalid message: {}: malformed", rule(message.kind).name));
    };
    switch (message.kind) {
    case Kind::Answer: {
        {
            const std::lock_guard lock(mutex_);
            const auto found = waiting_.find(message.number);
            if (found == waiting_.end() || found->second->answer)
                return base::fail("invalid message: an answer to no request");
            found->second->answer = std::move(message.body);
        }
        changed_.notify_all();
        return {};
    }
    case Kind::State: {
        const auto state = decode<State>(message.body);
        if (!state)
            return malformed();
        {
            const std::lock_guard lock(mutex_);
            state_ = *state;
        }
        changed_.notify_all();
        return {};
    }
    case Kind::Serial: {
        const auto serial = decode<Serial>(message.body);
        if (!serial)
            return malformed();
        if (listeners_.serial)
            for (const uint8_t byte : serial->bytes)
                listeners_.serial->send(byte);
        return {};
    }
    case Kind::Sound: {
        constexpr uint32_t kMostRate = 192000;
        const auto sound = decode<Sound>(message.body);
        if (!sound || sound->rate == 0 || sound->rate > kMostRate || sound->samples.size() % 4 != 0)
            return malformed();
        std::vector<int16_t> samples(sound->samples.size() / sizeof(int16_t));
        if (!samples.empty())
            std::memcpy(samples.data(), sound->samples.data(), sound->samples.size());
        if (listeners_.audio)
            listeners_.audio->play(samples, sound->rate);
        return {};
    }
    case Kind::Silence:
        if (!message.body.empty())
            return malformed();
        if (listeners_.audio)
            listeners_.audio->silence();
        return {};
    case Kind::Notice: {
        const auto notice = decode<Notice>(message.body);
        if (!notice)
            return malformed();
        if (listeners_.notice)
            listeners_.notice(notice->text);
        return {};
    }
    case Kind::Damaged: {
        const auto damaged = decode<Damaged>(message.body);
        if (!damaged)
            return malformed();
        if (listeners_.damaged)
            listeners_.damaged({damaged->failure.code, damaged->failure.message});
        return {};
    }
    case Kind::Stalled: {
        const auto stalled = decode<Stalled>(message.body);
        if (!stalled)
            return malformed();
        {
            const std::lock_guard lock(mutex_);
            stalled_ = stalled->why;
        }
        if (listeners_.stalled)
            listeners_.stalled(stalled->why);
        return {};
    }
    default:
        return base::fail("invalid message: not an event");
    }
}

// ------------------------------------------------------------------------------------------- asking

base::Result<std::vector<uint8_t>> Client::exchange(Kind kind, std::span<const uint8_t> body,
                                                    const std::vector<int>& files) {
    Waiting waiting{kind, {}};
    uint32_t number = 0;
    {
        const std::lock_guard lock(mutex_);
        if (lost_)
            return tl::make_unexpected(*lost_);
        do
            number = ++last_number_;
        while (number == 0 || waiting_.contains(number));
        waiting_.emplace(number, &waiting);
    }
    const bool sent = channel_.send(kind, number, body, files);
    std::unique_lock lock(mutex_);
    const auto asked = Clock::now();
    const auto settled = [&] { return waiting.answer || lost_; };
    for (;;) {
        auto until = sent ? asked + patience(kind).for_answer : asked;
        const auto stopped = stopped_;
        if (stopped)
            until = std::min(until, std::max(asked, *stopped) + patience(kind).after_stop);
        if (!changed_.wait_until(lock, until, [&] { return settled() || stopped_ != stopped; }) || settled())
            break;
    }
    const bool answered = settled();
    waiting_.erase(number);
    if (waiting.answer)
        return std::move(*waiting.answer);
    if (!answered) // whatever comes from it now comes too late
        channel_.shut();
    return tl::make_unexpected(lost_ ? *lost_ : base::Error{1, "the machine's process does not answer"});
}

template <class Request>
base::Result<typename Request::Answer> Client::ask(Request request, const std::vector<int>& files) {
    const auto body = TRY(exchange(Request::kKind, encode(std::move(request)), files));
    auto answer = decode_answer<typename Request::Answer>(body);
    if (!answer) {
        channel_.shut();
        return base::fail("the machine's process does not answer as it should");
    }
    return std::move(*answer);
}

base::Result<void> Client::set_up(Setup setup, std::vector<int> files) {
    setup.shared = {static_cast<FileIndex>(files.size()), {}};
    files.push_back(shared_.fd());
    const Walls said = TRY(ask(std::move(setup), files));
    const std::lock_guard lock(mutex_);
    walls_ = jail::Walls::from_bits(said.bits);
    return {};
}

void Client::start() { channel_.send(Start{}); }
void Client::pause() { std::ignore = ask(Pause{}); }

void Client::stop() {
    {
        const std::lock_guard lock(mutex_);
        if (!stopped_)
            stopped_ = Clock::now();
    }
    changed_.notify_all();
    channel_.send(Stop{});
}

void Client::reset() { channel_.send(Reset{}); }
void Client::power_button() { channel_.send(PowerButton{}); }

void Client::wait_for_end() {
    std::unique_lock lock(mutex_);
    // What has begun to write all of itself, for somebody who waits for that, ends after that.
    const bool busy = std::ranges::any_of(
        waiting_, [](const auto& waiting) { return &patience(waiting.second->kind) == &kLongPatience; });
    const Patience& ours = busy ? kLongPatience : kPatience;
    if (!changed_.wait_for(lock, stopped_ ? ours.after_stop : ours.for_answer,
                           [&] { return state_.stopped; }))
        channel_.shut();
}

vmm::ExitReason Client::exit_reason() const {
    const std::lock_guard lock(mutex_);
    return state_.reason;
}

bool Client::has_ended() const {
    const std::lock_guard lock(mutex_);
    return state_.ended;
}

base::Error Client::failure() const {
    const std::lock_guard lock(mutex_);
    return {state_.failure.code, state_.failure.message};
}

uint64_t Client::reset_count() const {
    const std::lock_guard lock(mutex_);
    return state_.resets;
}

void Client::key(const vmm::KeyEvent& event) { channel_.send(Key{{event}}); }

bool Client::takes_key(const vmm::KeyEvent& event) { return ask(TakesKey{{event}}).value_or(Flag{}).value; }

void Client::pointer(const vmm::PointerEvent& event) { channel_.send(Pointer{event}); }

void Client::serial_input(std::string_view bytes) {
    while (!bytes.empty()) {
        const auto part = bytes.substr(0, kMostSerial);
        bytes.remove_prefix(part.size());
        channel_.send(SerialInput{{part.begin(), part.end()}});
    }
}

bool Client::pointer_is_absolute() { return ask(PointerIsAbsolute{}).value_or(Flag{}).value; }

vmm::Picture Client::picture() {
    const std::lock_guard lock(picture_mutex_);
    const PictureSize size = ask(TakePicture{}).value_or(PictureSize{});
    const std::span<const uint32_t> pixels = shared_.pixels();
    const uint64_t count = uint64_t{size.width} * size.height;
    if (size.width > pixels.size() || size.height > pixels.size() || count > pixels.size())
        return {};
    vmm::Picture picture{size.width, size.height, std::exchange(spare_, {})};
    picture.pixels.assign(pixels.begin(), pixels.begin() + static_cast<ptrdiff_t>(count));
    return picture;
}

std::string Client::text_screen() { return ask(TextScreen{}).value_or(Text{}).value; }

uint64_t Client::picture_generation() { return ask(PictureGeneration{}).value_or(Number{}).value; }

void Client::prefer_picture_size(uint32_t width, uint32_t height) {
    channel_.send(PreferSize{width, height});
}

base::Result<void> Client::revert() {
    TRY(ask(Revert{}));
    return {};
}

base::Result<void> Client::compare() {
    TRY(ask(Compare{}));
    return {};
}

void Client::arrive(const vmm::Arrival& arrival) {
    std::ignore = ask(Arrive{{arrival.identity}, arrival.time_of_day});
}

base::Result<Frozen> Client::freeze(const std::vector<int>& files) { return ask(Freeze{}, files); }

uint64_t Client::time_of_day() { return ask(TimeOfDay{}).value_or(Number{}).value; }

uint32_t Client::tsc_khz() { return static_cast<uint32_t>(ask(TscKhz{}).value_or(Number{}).value); }

std::string Client::stalled() const {
    const std::lock_guard lock(mutex_);
    return stalled_;
}

void Client::order_writes(Writes::Order order) { channel_.send(Writes{order}); }

uint64_t Client::overlay_bytes() const { return shared_.overlay_bytes().load(); }

vmm::Activity Client::activity() { return ask(Activity{}).value_or(ActivityAnswer{}).activity; }

vmm::CodeUse Client::code_use() { return ask(CodeUse{}).value_or(CodeUseAnswer{}).use; }

void Client::record_fetches() { std::ignore = ask(RecordFetches{}); }

FetchList Client::fetches() { return ask(Fetches{}).value_or(FetchList{}); }

std::vector<uint8_t> Client::read_memory(uint64_t offset, uint32_t length) {
    return ask(ReadMemory{offset, length}).value_or(Content{}).value;
}

void Client::write_memory(uint64_t physical, std::vector<uint8_t> bytes) {
    std::ignore = ask(WriteMemory{physical, std::move(bytes)});
}

jail::Walls Client::walls() const {
    const std::lock_guard lock(mutex_);
    return walls_;
}

pid_t Client::process() const {
    const std::lock_guard lock(mutex_);
    return pid_;
}

} // namespace machine
