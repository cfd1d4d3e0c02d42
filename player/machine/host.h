// The machine's side: does what the player asks and tells it what the guest does. Everything that a guest's
// publisher wrote is read here and nowhere else: chunks, saved states, disks.
#pragma once
#include "player/machine/channel.h"
#include "player/machine/outbox.h"
#include "player/machine/overlay_port.h"
#include "player/machine/scene_source.h"
#include "player/machine/shared_memory.h"
#include "vmm/jail/walls.h"

#include <condition_variable>
#include <deque>
#include <memory>

namespace machine {

class Host {
  public:
    // When the machine is put together, before it can run: the largest file that will be written, and the
    // guest's memory, in bytes.
    using Complete = void (*)(uint64_t largest, uint64_t memory);
    // `walls`: those around this process.
    explicit Host(base::UniqueFd socket, jail::Walls walls = {}, Complete complete = nullptr);
    ~Host();

    // Until the player is gone. Errors: it broke the protocol.
    base::Result<void> serve();

  private:
    struct Parts; // of a machine that was set up

    base::Result<void> take(Message message);
    base::Result<void> post(const Message& message);
    base::Result<void> set_up(Message message);
    void work();
    base::Result<void> carry_out(Message& request);
    template <class Request> base::Result<void> serve(Message& request);

    base::Result<Done> on(const Pause& request, Message& message);
    base::Result<Flag> on(const TakesKey& request, Message& message);
    base::Result<Flag> on(const PointerIsAbsolute& request, Message& message);
    base::Result<PictureSize> on(const TakePicture& request, Message& message);
    base::Result<Number> on(const PictureGeneration& request, Message& message);
    base::Result<Text> on(const TextScreen& request, Message& message);
    base::Result<Done> on(const Revert& request, Message& message);
    base::Result<Done> on(const Arrive& request, Message& message);
    base::Result<Number> on(const TimeOfDay& request, Message& message);
    base::Result<Number> on(const TscKhz& request, Message& message);
    base::Result<Done> on(const Compare& request, Message& message);
    base::Result<Frozen> on(const Freeze& request, Message& message);
    base::Result<Done> on(const RecordFetches& request, Message& message);
    base::Result<FetchList> on(const Fetches& request, Message& message);
    base::Result<Content> on(const ReadMemory& request, Message& message);
    base::Result<Done> on(const WriteMemory& request, Message& message);
    base::Result<CodeUseAnswer> on(const CodeUse& request, Message& message);
    base::Result<ActivityAnswer> on(const Activity& request, Message& message);

    Channel channel_;
    Outbox outbox_;
    jail::Walls walls_;
    Complete complete_;
    std::unique_ptr<Parts> parts_; // null: not set up yet
    std::atomic<bool> runs_{false};

    std::mutex mutex_; // guards what follows
    std::condition_variable changed_;
    std::deque<Message> requests_;
    bool ended_ = false;
    std::optional<base::Error> broken_; // why the worker will not go on
    std::thread worker_;                // last: starts when everything above exists, and a machine
};

} // namespace machine
