#include "player/network.h"

#include "player/frame_channel.h"
#include "player/installed_files.h"
#include "player/name_server.h"
#include "player/network_process.h"
#include "vmm/base/bell.h"
#include "vmm/base/quiet_thread.h"
#include "vmm/base/unique_fd.h"
#include "vmm/jail/program.h"

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fmt/format.h>
#include <mutex>
#include <poll.h>
#include <sys/socket.h>
#include <thread>

namespace player {
namespace {

base::Result<std::shared_ptr<FrameChannel>> open_channel() {
    auto channel = std::make_shared<FrameChannel>(
        TRY(FrameChannel::open(TRY(FrameChannel::make()), FrameChannel::End::Guest)));
    channel->want_frames(); // a card does not ask before it has heard of the first
    return channel;
}

} // namespace

struct UserNetwork::Impl {
    NetworkAccess access;
    Hearers hearers;
    HostSource host;
    std::string program;
    base::UniqueFd wake; // a bell

    mutable std::mutex mutex; // guards what follows
    std::shared_ptr<FrameChannel>
        channel; // of the process to come, or that is there; null: none could be made
    const Plug* plugged = nullptr;
    bool renew = false, ended = false;
    bool spoken = false; // the guest, through this channel
    bool off = false;    // there will be no network any more
    std::optional<jail::Walls> walls;
    std::atomic<pid_t> process_number{0};

    std::mutex ready_mutex; // held while `ready` is called; never together with the other
    std::function<void()> ready;

    // The thread's.
    std::optional<jail::Program> process;
    base::UniqueFd orders;
    HostNetworkWatch network_watch;
    NameServerWatch name_server_watch;
    std::thread thread;

    void drop_connections(); // the mutex is held
    void rouse() const { base::ring(wake.get()); }
    void tell_ready() {
        const std::lock_guard lock(ready_mutex);
        if (ready)
            ready();
    }
    void notice(const std::string& text) const {
        if (hearers.notice)
            hearers.notice(text);
    }
    [[nodiscard]] Surroundings surroundings(const std::optional<HostNetworks>& networks) const;
    base::Result<void> start_process();
    void end_process();
    void lose_process(const std::string& why);
    void hear_report();
    void work();
};

// What a machine's card holds on to.
class UserNetwork::Plug final : public vmm::NetworkPort {
  public:
    explicit Plug(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
    bool send(std::span<const uint8_t> frame) override;
    size_t receive(std::span<uint8_t, kMaxFrame> frame) override;
    void set_ready(std::function<void()> ready) override;
    void disconnect() override;

  private:
    friend UserNetwork;
    const std::shared_ptr<Impl> impl_;
    // The channel, when this is the cable that is in; the mutex is held.
    FrameChannel* channel() { return impl_->plugged == this && !impl_->off ? impl_->channel.get() : nullptr; }
};

// ------------------------------------------------------------------------------------------- the thread

// At once as far as the guest can tell. A process that has heard nothing of the guest is as good as a new
// one.
void UserNetwork::Impl::drop_connections() {
    if (off || (channel && !spoken && channel->sockets() == 0))
        return;
    spoken = false;
    renew = true;
    auto made = open_channel();
    channel = made ? std::move(*made) : nullptr;
}

Surroundings UserNetwork::Impl::surroundings(const std::optional<HostNetworks>& networks) const {
    Surroundings around;
    around.known =
        networks && networks->own.size() <= kMostAddresses && networks->attached.size() <= kMostAddresses;
    if (around.known) {
        around.own = networks->own;
        around.attached = networks->attached;
    }
    around.name_server = name_server_watch.address();
    return around;
}

base::Result<void> UserNetwork::Impl::start_process() {
    std::array<int, 2> pair{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) != 0)
        return base::fail(std::strerror(errno));
    orders = base::UniqueFd(pair[0]);
    const base::UniqueFd theirs(pair[1]);
    std::array<int, 1 + FrameChannel::kDescriptors> descriptors{theirs.get()};
    std::shared_ptr<FrameChannel> to_hand_over;
    {
        const std::lock_guard lock(mutex);
        if (!channel)
            channel = TRY(open_channel());
        to_hand_over = channel;
    }
    std::ranges::copy(to_hand_over->descriptors().numbers(), descriptors.begin() + 1);
    process = TRY(jail::Program::start(program, {}, descriptors, jail::Program::Network::OfThisComputer));
    process_number = process->pid();
    const auto networks = host();
    NetworkOrders first{choose_guest_network(networks, access.networks), access.networks, access.forward,
                        surroundings(networks)};
    const auto message = to_message(first);
    if (::send(orders.get(), message.data(), message.size(), MSG_NOSIGNAL) < 0)
        return base::fail(std::strerror(errno));
    return {};
}

void UserNetwork::Impl::end_process() {
    orders.reset();
    process.reset();
    process_number = 0;
}

// Without a process that the guest has met, there is just no network. Otherwise it took a guest's connections
// with it, and nobody can tell what else is wrong.
void UserNetwork::Impl::lose_process(const std::string& why) {
    orders.reset();
    if (process)
        process->kill();
    const std::string how = process ? process->wait() : "has ended";
    end_process();
    bool met = false;
    {
        const std::lock_guard lock(mutex);
        met = walls.has_value();
        walls.reset();
        off = true;
    }
    const std::string text =
        why.empty() ? fmt::format("the part of Encore that carries the guest's network {}", how) : why;
    if (met && hearers.failed)
        hearers.failed(base::Error{1, text + "; the session has ended, open it again"});
    else
        notice(fmt::format("no network: {}", text));
    tell_ready(); // unblocks senders that wait for room
}

void UserNetwork::Impl::hear_report() {
    std::array<uint8_t, kReportSize + 1> room{};
    const ssize_t length = ::recv(orders.get(), room.data(), room.size(), MSG_DONTWAIT | MSG_TRUNC);
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (length <= 0)
        return lose_process({});
    const auto report = static_cast<size_t>(length) <= kReportSize
                            ? report_from({room.data(), static_cast<size_t>(length)})
                            : std::nullopt;
    if (!report)
        return lose_process("the part of Encore that carries the guest's network said what it may not say");
    switch (report->kind) {
    case NetworkReport::Kind::Ready: {
        const std::lock_guard lock(mutex);
        walls = report->walls;
        return;
    }
    case NetworkReport::Kind::PortTaken:
        return notice(fmt::format("port {} of this computer does not lead to the machine's port {}: {}",
                                  report->forward.host, report->forward.guest,
                                  std::strerror(static_cast<int>(report->error))));
    case NetworkReport::Kind::NoLibrary:
        return lose_process("libslirp is missing; install the package libslirp0");
    case NetworkReport::Kind::OldLibrary:
        return lose_process("libslirp is too old; install the package libslirp0 of this system's release");
    case NetworkReport::Kind::CannotBeWalled:
        return lose_process(
            "this system has no seccomp filters, which have to be around it; boot a kernel that has "
            "them (CONFIG_SECCOMP_FILTER)");
    }
}

void UserNetwork::Impl::work() {
    constexpr std::chrono::milliseconds kLook{2000}; // between looks at which name server there is
    auto next_look = std::chrono::steady_clock::now() + kLook;
    bool start = true;
    for (;;) {
        bool broken = false, stopped = false;
        {
            const std::lock_guard lock(mutex);
            if (ended)
                break;
            if (std::exchange(renew, false)) {
                walls.reset();
                start = true;
            }
            broken = !off && channel && channel->broken();
            stopped = off;
        }
        if (start) {
            end_process(); // before its ports are taken again
            tell_ready();  // for senders that waited for room in the old channel
        }
        if (std::exchange(start, false) && !stopped)
            if (auto started = start_process(); !started)
                lose_process(started.error().message);
        if (broken)
            lose_process("the part of Encore that carries the guest's network passed on what it may not");
        const bool networks_changed = network_watch.changed();
        const bool look = std::chrono::steady_clock::now() >= next_look;
        if (look)
            next_look = std::chrono::steady_clock::now() + kLook;
        if (((look && name_server_watch.changed()) || networks_changed) && orders.valid()) {
            const auto message = to_message(surroundings(host()));
            // Fails when it is gone, which is heard below.
            [[maybe_unused]] const ssize_t sent =
                ::send(orders.get(), message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        }
        // Negative ones are not looked at.
        std::array<pollfd, 4> polled{{{wake.get(), POLLIN, 0},
                                      {network_watch.fd(), POLLIN, 0},
                                      {orders.get(), POLLIN, 0},
                                      {-1, POLLIN, 0}}};
        std::shared_ptr<FrameChannel> heard;
        {
            const std::lock_guard lock(mutex);
            heard = off ? nullptr : channel;
        }
        if (heard)
            polled[3].fd = heard->bell();
        ::poll(polled.data(), polled.size(), process ? static_cast<int>(kLook.count()) : -1);
        base::hear(wake.get());
        if (polled[3].revents != 0) {
            heard->hear();
            tell_ready();
        }
        if (polled[2].revents != 0)
            hear_report();
    }
    end_process();
}

// ------------------------------------------------------------------------------------------- the card's side

bool UserNetwork::Plug::send(std::span<const uint8_t> frame) {
    const std::lock_guard lock(impl_->mutex);
    FrameChannel* to = channel();
    if (to == nullptr || frame.size() < FrameChannel::kMinFrame || frame.size() > kMaxFrame)
        return true; // into the air
    impl_->spoken = true;
    const bool done = to->put(frame) || (to->want_room() && to->put(frame));
    if (to->broken())
        impl_->rouse();
    return done;
}

size_t UserNetwork::Plug::receive(std::span<uint8_t, kMaxFrame> frame) {
    const std::lock_guard lock(impl_->mutex);
    FrameChannel* from = channel();
    if (from == nullptr)
        return 0;
    size_t length = from->take(frame);
    if (length == 0 && from->want_frames())
        length = from->take(frame);
    if (from->broken())
        impl_->rouse();
    return length;
}

void UserNetwork::Plug::set_ready(std::function<void()> ready) {
    const std::lock_guard order(impl_->ready_mutex);
    {
        const std::lock_guard lock(impl_->mutex);
        if (impl_->plugged != this)
            return;
    }
    impl_->ready = std::move(ready);
}

void UserNetwork::Plug::disconnect() {
    {
        const std::lock_guard lock(impl_->mutex);
        if (impl_->plugged == this)
            impl_->drop_connections();
    }
    impl_->rouse();
}

// ------------------------------------------------------------------------------------------- the session's
// side

UserNetwork::UserNetwork(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

base::Result<std::shared_ptr<UserNetwork>> UserNetwork::create(NetworkAccess access, Hearers hearers,
                                                               std::string program, HostSource host) {
    auto impl = std::make_shared<Impl>();
    impl->access = std::move(access);
    impl->hearers = std::move(hearers);
    impl->host = std::move(host);
    impl->program = program.empty() ? find_program("encore-network") : std::move(program);
    if (impl->program.empty())
        return base::fail("no network: its program, encore-network, is missing; install Encore again");
    impl->wake = base::make_bell();
    if (!impl->wake.valid())
        return base::fail(fmt::format("no network: cannot make an event counter: {}", std::strerror(errno)));
    auto channel = open_channel();
    if (!channel)
        return base::fail("no network: " + channel.error().message);
    impl->channel = std::move(*channel);
    impl->thread = base::quiet_thread([raw = impl.get()] { raw->work(); });
    return std::shared_ptr<UserNetwork>(new UserNetwork(std::move(impl)));
}

UserNetwork::~UserNetwork() {
    std::ignore = plug(); // disconnects every plug still held
    {
        const std::lock_guard lock(impl_->mutex);
        impl_->ended = true;
    }
    impl_->rouse();
    impl_->thread.join();
}

std::shared_ptr<vmm::NetworkPort> UserNetwork::plug() {
    auto made = std::make_shared<Plug>(impl_);
    const std::lock_guard order(impl_->ready_mutex);
    const std::lock_guard lock(impl_->mutex);
    impl_->ready = {};
    impl_->plugged = made.get();
    return made;
}

void UserNetwork::disconnect() {
    {
        const std::lock_guard lock(impl_->mutex);
        impl_->drop_connections();
    }
    impl_->rouse();
}

size_t UserNetwork::open_sockets() const {
    const std::lock_guard lock(impl_->mutex);
    return impl_->channel ? impl_->channel->sockets() : 0;
}

std::optional<jail::Walls> UserNetwork::walls() const {
    const std::lock_guard lock(impl_->mutex);
    return impl_->walls;
}

pid_t UserNetwork::process() const { return impl_->process_number; }

} // namespace player
