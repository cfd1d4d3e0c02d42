#include "player/machine/host.h"

#include "player/machine/host_parts.h"
#include "vmm/base/thread_work.h"

#include <ctime>
#include <fmt/format.h>

namespace machine {
namespace {

constexpr size_t kMostWaiting = 64; // requests; the player has a few threads, and each waits for its answer

tl::unexpected<base::Error> broken(Kind kind, const char* why) {
    return base::fail(fmt::format("invalid message: {}: {}", rule(kind).name, why));
}

} // namespace

Host::Host(base::UniqueFd socket, jail::Walls walls, Complete complete)
    : channel_(std::move(socket), End::Machine), outbox_(channel_), walls_(walls), complete_(complete) {}

Host::~Host() {
    {
        const std::lock_guard lock(mutex_);
        ended_ = true;
    }
    changed_.notify_all();
    channel_.shut(); // unblocks senders
    if (worker_.joinable())
        worker_.join();
    outbox_.set_look({});
    parts_.reset();
}

base::Result<void> Host::serve() {
    for (;;) {
        auto message = TRY(channel_.receive());
        if (message)
            TRY(take(std::move(*message)));
        const std::lock_guard lock(mutex_);
        if (broken_)
            return tl::make_unexpected(*broken_);
        if (!message)
            return {};
    }
}

base::Result<void> Host::take(Message message) {
    if ((message.kind == Kind::Setup) != (parts_ == nullptr))
        return broken(message.kind, "out of order");
    if (message.kind == Kind::Setup)
        return set_up(std::move(message));
    if (rule(message.kind).manner == Manner::Post)
        return post(message);
    {
        const std::lock_guard lock(mutex_);
        if (requests_.size() >= kMostWaiting)
            return broken(message.kind, "too many at once");
        requests_.push_back(std::move(message));
    }
    changed_.notify_all();
    return {};
}

base::Result<void> Host::set_up(Message message) {
    const auto setup = decode<Setup>(message.body);
    if (!setup)
        return broken(message.kind, "malformed");
    auto parts = Parts::build(*setup, std::move(message.files), outbox_);
    base::Result<Walls> done = Walls{walls_.bits()};
    if (!parts) {
        done = tl::make_unexpected(parts.error());
    } else {
        parts_ = std::move(*parts);
        worker_ = std::thread([this] { work(); });
        if (complete_ != nullptr)
            complete_(parts_->largest_file(), setup->ram_bytes);
    }
    outbox_.answer(message.number, encode_answer(std::move(done)));
    return {};
}

// Those that wait for nothing: they are carried out while a request is.
base::Result<void> Host::post(const Message& message) {
    vmm::Machine& machine = *parts_->machine;
    const auto with = [&]<class T>(std::optional<T> fields, auto&& act) -> base::Result<void> {
        if (!fields)
            return broken(message.kind, "malformed");
        act(*fields);
        return {};
    };
    switch (message.kind) {
    case Kind::Start:
        runs_ = true;
        machine.start();
        return {};
    case Kind::Stop:
        parts_->budget->room().abandon();
        machine.stop();
        return {};
    case Kind::Reset:
        machine.reset();
        return {};
    case Kind::PowerButton:
        machine.power_button();
        return {};
    case Kind::Key:
        return with(decode<Key>(message.body), [&](const Key& key) { machine.key(key.event); });
    case Kind::Pointer:
        return with(decode<Pointer>(message.body),
                    [&](const Pointer& pointer) { machine.pointer(pointer.event); });
    case Kind::SerialInput:
        return with(decode<SerialInput>(message.body), [&](const SerialInput& input) {
            machine.serial_input({reinterpret_cast<const char*>(input.bytes.data()), input.bytes.size()});
        });
    case Kind::PreferSize:
        return with(decode<PreferSize>(message.body),
                    [&](const PreferSize& size) { machine.prefer_picture_size(size.width, size.height); });
    case Kind::Writes:
        return with(decode<Writes>(message.body), [&](const Writes& writes) {
            SpaceGate& room = parts_->budget->room();
            writes.order == Writes::Order::Retry     ? room.retry()
            : writes.order == Writes::Order::Abandon ? room.abandon()
                                                     : room.reopen();
        });
    default:
        return broken(message.kind, "not a post");
    }
}

// ------------------------------------------------------------------------------------------- requests

void Host::work() {
    base::begin_work("requests", parts_->machine->memory().fd());
    std::unique_lock lock(mutex_);
    for (;;) {
        changed_.wait(lock, [&] { return ended_ || !requests_.empty(); });
        if (ended_)
            return;
        Message request = std::move(requests_.front());
        requests_.pop_front();
        lock.unlock();
        auto done = carry_out(request);
        lock.lock();
        if (done)
            continue;
        broken_ = done.error();
        channel_.shut(); // serve() says it
        return;
    }
}

template <class Request> base::Result<void> Host::serve(Message& message) {
    const auto request = decode<Request>(message.body);
    if (!request)
        return broken(message.kind, "malformed");
    outbox_.answer(message.number, encode_answer(on(*request, message)));
    return {};
}

base::Result<void> Host::carry_out(Message& request) {
    switch (request.kind) {
#define MACHINE_CASE(name)                                                                                   \
    case Kind::name:                                                                                         \
        return serve<name>(request);
        MACHINE_CASE(Pause)
        MACHINE_CASE(TakesKey)
        MACHINE_CASE(PointerIsAbsolute)
        MACHINE_CASE(TakePicture)
        MACHINE_CASE(PictureGeneration)
        MACHINE_CASE(TextScreen)
        MACHINE_CASE(Revert)
        MACHINE_CASE(Arrive)
        MACHINE_CASE(TimeOfDay)
        MACHINE_CASE(TscKhz)
        MACHINE_CASE(Compare)
        MACHINE_CASE(Freeze)
        MACHINE_CASE(RecordFetches)
        MACHINE_CASE(Fetches)
        MACHINE_CASE(ReadMemory)
        MACHINE_CASE(WriteMemory)
        MACHINE_CASE(CodeUse)
        MACHINE_CASE(Activity)
#undef MACHINE_CASE
    default:
        return broken(request.kind, "not a request");
    }
}

// What works on the machine's memory would wait for ever for one that runs.
#define NEEDS_REST()                                                                                         \
    if (runs_)                                                                                               \
    return base::fail("the machine is not at rest")

base::Result<Done> Host::on(const Pause&, Message&) {
    parts_->machine->pause();
    runs_ = false;
    return Done{};
}

base::Result<Flag> Host::on(const TakesKey& request, Message&) {
    return Flag{parts_->machine->takes_key(request.event)};
}

base::Result<Flag> Host::on(const PointerIsAbsolute&, Message&) {
    return Flag{parts_->machine->pointer_is_absolute()};
}

base::Result<PictureSize> Host::on(const TakePicture&, Message&) {
    PictureSize size;
    parts_->machine->picture([&](uint32_t width, uint32_t height) {
        const std::span<uint32_t> pixels = parts_->shared->pixels();
        if (size_t{width} * height > pixels.size())
            return std::span<uint32_t>();
        size = {width, height};
        return pixels.first(size_t{width} * height);
    });
    return size;
}

base::Result<Number> Host::on(const PictureGeneration&, Message&) {
    return Number{parts_->machine->picture_generation()};
}

base::Result<Text> Host::on(const TextScreen&, Message&) { return Text{parts_->machine->text_screen()}; }

base::Result<Done> Host::on(const Revert&, Message&) {
    NEEDS_REST();
    TRY(parts_->machine->revert());
    for (const auto& overlay : parts_->overlays)
        if (overlay)
            overlay->drop();
    return Done{};
}

base::Result<Done> Host::on(const Arrive& request, Message&) {
    NEEDS_REST();
    parts_->machine->arrive({request.identity.value, request.time_of_day});
    return Done{};
}

base::Result<Number> Host::on(const TimeOfDay&, Message&) { return Number{parts_->machine->time_of_day()}; }

base::Result<Number> Host::on(const TscKhz&, Message&) { return Number{parts_->machine->tsc_khz()}; }

base::Result<Done> Host::on(const Compare&, Message&) {
    NEEDS_REST();
    TRY(parts_->compare());
    return Done{};
}

base::Result<Frozen> Host::on(const Freeze&, Message& message) {
    NEEDS_REST();
    return parts_->freeze(message.files);
}

base::Result<Done> Host::on(const RecordFetches&, Message&) {
    NEEDS_REST();
    parts_->machine->memory().set_fetch_listener([parts = parts_.get()](uint32_t page) {
        const std::lock_guard lock(parts->fetch_mutex);
        FetchList& list = parts->fetches;
        if (list.pages.size() >= kMostPages)
            return;
        if (list.first_ns == 0) {
            timespec now{};
            ::clock_gettime(CLOCK_MONOTONIC, &now);
            list.first_ns =
                static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
        }
        list.pages.push_back(page);
    });
    return Done{};
}

base::Result<FetchList> Host::on(const Fetches&, Message&) {
    const std::lock_guard lock(parts_->fetch_mutex);
    return parts_->fetches;
}

base::Result<Content> Host::on(const ReadMemory& request, Message&) {
    NEEDS_REST();
    vmm::GuestMemory& memory = parts_->machine->memory();
    if (request.length > kMostMemory || request.offset > memory.backing_bytes() ||
        request.length > memory.backing_bytes() - request.offset)
        return base::fail("the machine has no such memory");
    const uint64_t end = request.offset + request.length;
    for (uint64_t page = request.offset >> vmm::kPageShift; page << vmm::kPageShift < end; ++page)
        if (!memory.make_present(static_cast<uint32_t>(page)))
            return tl::make_unexpected(memory.failure());
    return Content{{memory.data() + request.offset, memory.data() + end}};
}

base::Result<Done> Host::on(const WriteMemory& request, Message&) {
    NEEDS_REST();
    parts_->machine->memory().write(request.physical, request.bytes.data(), request.bytes.size());
    return Done{};
}

base::Result<CodeUseAnswer> Host::on(const CodeUse&, Message&) {
    return CodeUseAnswer{parts_->machine->code_use()};
}

base::Result<ActivityAnswer> Host::on(const Activity&, Message&) {
    return ActivityAnswer{parts_->machine->activity()};
}

} // namespace machine
