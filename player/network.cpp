#include "player/network.h"

#include "player/fragment_collector.h"
#include "player/network_filter.h"
#include "vmm/base/unique_fd.h"
#include "vmm/base/verify.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>
#include <deque>
#include <dlfcn.h>
#include <fmt/format.h>
#include <mutex>
#include <poll.h>
#include <slirp/libslirp.h>
#include <sys/eventfd.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace player {
namespace {

using Frame = std::vector<uint8_t>;

constexpr size_t kMostOutgoing = 256; // frames of the guest's that wait for the thread
constexpr size_t kEnough = 256,
                 kMostIncoming = 1024; // frames for the guest: no more is read; no more is kept

struct Library {
    decltype(&::slirp_new) make = nullptr;
    decltype(&::slirp_cleanup) cleanup = nullptr;
    decltype(&::slirp_input) input = nullptr;
    decltype(&::slirp_pollfds_fill) fill = nullptr;
    decltype(&::slirp_pollfds_poll) poll = nullptr;
    decltype(&::slirp_add_hostfwd) forward = nullptr;
};

base::Result<Library> load_library() {
    constexpr const char* kName = "libslirp.so.0";
    void* handle = ::dlopen(kName, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (handle == nullptr)
        return base::fail(fmt::format("no network: {}; install the package libslirp0", ::dlerror()));
    Library library;
    const auto find = [&](auto& function, const char* name) {
        function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlsym(handle, name));
        return function != nullptr;
    };
    if (!find(library.make, "slirp_new") || !find(library.cleanup, "slirp_cleanup") ||
        !find(library.input, "slirp_input") || !find(library.fill, "slirp_pollfds_fill") ||
        !find(library.poll, "slirp_pollfds_poll") || !find(library.forward, "slirp_add_hostfwd"))
        return base::fail(fmt::format(
            "no network: {} is too old; install the package libslirp0 of this system's release", kName));
    return library;
}

in_addr address(uint32_t host_order) { return {htonl(host_order)}; }

short poll_events(int wanted) {
    return static_cast<short>(
        ((wanted & SLIRP_POLL_IN) != 0 ? POLLIN : 0) | ((wanted & SLIRP_POLL_OUT) != 0 ? POLLOUT : 0) |
        ((wanted & SLIRP_POLL_PRI) != 0 ? POLLPRI : 0) | ((wanted & SLIRP_POLL_ERR) != 0 ? POLLERR : 0) |
        ((wanted & SLIRP_POLL_HUP) != 0 ? POLLHUP : 0));
}
int slirp_events(short happened) {
    return ((happened & POLLIN) != 0 ? SLIRP_POLL_IN : 0) | ((happened & POLLOUT) != 0 ? SLIRP_POLL_OUT : 0) |
           ((happened & POLLPRI) != 0 ? SLIRP_POLL_PRI : 0) |
           ((happened & POLLERR) != 0 ? SLIRP_POLL_ERR : 0) |
           ((happened & POLLHUP) != 0 ? SLIRP_POLL_HUP : 0);
}

} // namespace

struct UserNetwork::Impl {
    Library library;
    NetworkAccess access;
    Notice notice;
    HostSource host;
    base::UniqueFd wake; // eventfd

    std::mutex mutex; // guards what follows
    std::deque<Frame> outgoing, incoming;
    bool wants_room = false; // send() said no
    bool renew = false, ended = false;
    bool holding_back = false; // the thread waits until the guest has taken some

    std::mutex ready_mutex; // held while `ready` is called; never together with the other
    std::function<void()> ready;

    std::atomic<size_t> sockets{0};
    // The thread's.
    Slirp* slirp = nullptr;
    NetworkFilter filter;
    FragmentCollector fragments;
    HostNetworkWatch watch;
    std::vector<pollfd> polled;
    bool delivered = false;
    std::thread thread;

    void rouse() const {
        const uint64_t one = 1;
        // Fails only when the counter is full, and then it is readable.
        [[maybe_unused]] const ssize_t written = ::write(wake.get(), &one, sizeof one);
    }
    void tell_ready() {
        const std::lock_guard lock(ready_mutex);
        if (ready)
            ready();
    }
    void open();
    void close();
    void work();
    void deliver(const uint8_t* frame, size_t length);
    void input(const Frame& piece);
    void forward_ports();
};

// ------------------------------------------------------------------------------------------- the thread

void UserNetwork::Impl::deliver(const uint8_t* frame, size_t length) {
    if (!filter.admits({frame, length}))
        return;
    const std::lock_guard lock(mutex);
    // Over-long ones cannot be: the library keeps to the MTU. What is too much, TCP sends again.
    if (renew || length > kMaxFrame || incoming.size() >= kMostIncoming)
        return;
    incoming.emplace_back(frame, frame + length);
    delivered = true;
}

void UserNetwork::Impl::open() {
    static const SlirpCb callbacks = [] {
        SlirpCb made{};
        made.send_packet = [](const void* frame, size_t length, void* self) {
            static_cast<Impl*>(self)->deliver(static_cast<const uint8_t*>(frame), length);
            return static_cast<ssize_t>(length);
        };
        made.guest_error = [](const char*, void*) {}; // its own affair
        made.clock_get_ns = [](void*) {
            timespec now{};
            ::clock_gettime(CLOCK_MONOTONIC, &now);
            return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
        };
        // Only IPv6, which is off, has a timer.
        made.timer_new = [](SlirpTimerCb, void*, void*) -> void* {
            VERIFY(!"the library wants a timer");
            return nullptr;
        };
        made.timer_free = [](void*, void*) {};
        made.timer_mod = [](void*, int64_t, void*) {};
        made.register_poll_fd = [](int, void* self) { ++static_cast<Impl*>(self)->sockets; };
        made.unregister_poll_fd = [](int, void* self) { --static_cast<Impl*>(self)->sockets; };
        made.notify = [](void*) {}; // only this thread gives it anything
        return made;
    }();
    const auto networks = host();
    std::vector<uint16_t> forwarded;
    for (const auto& forward : access.forward)
        forwarded.push_back(forward.guest);
    filter = NetworkFilter(choose_guest_network(networks, access.networks), Reach(access.networks, networks),
                           std::move(forwarded));
    fragments = {};
    SlirpConfig config{};
    config.version = SLIRP_CONFIG_VERSION_MAX;
    config.in_enabled = true;
    config.vnetwork = address(filter.network().address);
    config.vnetmask = address(filter.network().mask());
    config.vhost = address(filter.host());
    config.vnameserver = address(filter.name_server());
    config.vdhcp_start = address(filter.first_guest());
    config.disable_host_loopback = true;
    slirp = library.make(&config, &callbacks, this);
    VERIFY(slirp != nullptr); // null: it does not know the configuration's version
    forward_ports();
}

void UserNetwork::Impl::forward_ports() {
    for (const auto& forward : access.forward)
        if (library.forward(slirp, 0, address(INADDR_LOOPBACK), forward.host, address(filter.first_guest()),
                            forward.guest) != 0 &&
            notice)
            notice(fmt::format("port {} of this computer does not lead to the machine's port {}: {}",
                               forward.host, forward.guest, std::strerror(errno)));
}

void UserNetwork::Impl::close() {
    if (slirp != nullptr)
        library.cleanup(slirp);
    slirp = nullptr;
}

void UserNetwork::Impl::input(const Frame& piece) {
    const auto frame = fragments.take(piece, FragmentCollector::Clock::now());
    if (frame.empty())
        return;
    const NetworkFilter::Verdict verdict = filter.judge(frame, sockets);
    if (verdict.announcement)
        library.input(slirp, verdict.announcement->data(), static_cast<int>(verdict.announcement->size()));
    if (verdict.passes)
        library.input(slirp, frame.data(), static_cast<int>(frame.size()));
}

// Sleeps until a socket, the guest or one of TCP's timers has something; without connections, for ever.
void UserNetwork::Impl::work() {
    open();
    std::deque<Frame> taken;
    for (;;) {
        bool again = false, room = false, hold = false;
        {
            const std::lock_guard lock(mutex);
            if (ended)
                break;
            again = std::exchange(renew, false);
            taken.swap(outgoing);
            room = std::exchange(wants_room, false);
        }
        if (again) {
            close();
            open();
        }
        if (watch.changed())
            filter.set_reach(Reach(access.networks, host()));
        for (const Frame& frame : taken)
            input(frame);
        taken.clear();
        {
            const std::lock_guard lock(mutex);
            hold = holding_back = incoming.size() >= kEnough;
        }
        if (room || std::exchange(delivered, false))
            tell_ready();
        uint32_t timeout = UINT32_MAX;
        polled = {{wake.get(), POLLIN, 0}, {watch.fd(), POLLIN, 0}};
        if (!hold)
            library.fill(
                slirp, &timeout,
                [](int fd, int events, void* self) {
                    auto& all = static_cast<Impl*>(self)->polled;
                    all.push_back({fd, poll_events(events), 0});
                    return static_cast<int>(all.size()) - 1;
                },
                this);
        const int wait = timeout > 1u << 30 ? -1 : static_cast<int>(timeout);
        const int happened = ::poll(polled.data(), polled.size(), wait);
        uint64_t count = 0;
        [[maybe_unused]] const ssize_t read = ::read(wake.get(), &count, sizeof count); // does not block
        if (!hold)
            library.poll(
                slirp, happened < 0 ? 1 : 0,
                [](int index, void* self) {
                    const auto& all = static_cast<Impl*>(self)->polled;
                    return static_cast<size_t>(index) < all.size()
                               ? slirp_events(all[static_cast<size_t>(index)].revents)
                               : 0;
                },
                this);
    }
    close();
}

// ------------------------------------------------------------------------------------------- the card's side

UserNetwork::UserNetwork(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

base::Result<std::shared_ptr<UserNetwork>> UserNetwork::create(NetworkAccess access, Notice notice,
                                                               HostSource host) {
    auto impl = std::make_unique<Impl>();
    impl->access = std::move(access);
    impl->notice = std::move(notice);
    impl->host = std::move(host);
    impl->library = TRY(load_library());
    impl->wake = base::UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!impl->wake.valid())
        return base::fail(fmt::format("no network: cannot make an event counter: {}", std::strerror(errno)));
    // Signals belong to the vCPU and session threads: the new thread inherits a full mask.
    sigset_t all, previous;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &previous);
    impl->thread = std::thread([raw = impl.get()] { raw->work(); });
    pthread_sigmask(SIG_SETMASK, &previous, nullptr);
    return std::shared_ptr<UserNetwork>(new UserNetwork(std::move(impl)));
}

UserNetwork::~UserNetwork() {
    {
        const std::lock_guard lock(impl_->mutex);
        impl_->ended = true;
    }
    impl_->rouse();
    impl_->thread.join();
}

bool UserNetwork::send(std::span<const uint8_t> frame) {
    bool first = false;
    {
        const std::lock_guard lock(impl_->mutex);
        if (impl_->outgoing.size() >= kMostOutgoing) {
            impl_->wants_room = true;
            return false;
        }
        first = impl_->outgoing.empty();
        impl_->outgoing.emplace_back(frame.begin(), frame.end());
    }
    if (first)
        impl_->rouse();
    return true;
}

size_t UserNetwork::receive(std::span<uint8_t, kMaxFrame> frame) {
    size_t length = 0;
    bool rouse = false;
    {
        const std::lock_guard lock(impl_->mutex);
        if (impl_->incoming.empty())
            return 0;
        const Frame& next = impl_->incoming.front();
        length = next.size();
        std::ranges::copy(next, frame.begin());
        impl_->incoming.pop_front();
        if (impl_->holding_back && impl_->incoming.size() < kEnough / 2) {
            impl_->holding_back = false;
            rouse = true;
        }
    }
    if (rouse)
        impl_->rouse();
    return length;
}

void UserNetwork::set_ready(std::function<void()> ready) {
    const std::lock_guard lock(impl_->ready_mutex);
    impl_->ready = std::move(ready);
}

// At once as far as the guest can tell: what the thread still has of the old connections it may not deliver.
void UserNetwork::disconnect() {
    {
        const std::lock_guard lock(impl_->mutex);
        impl_->outgoing.clear();
        impl_->incoming.clear();
        impl_->holding_back = false;
        impl_->renew = true;
    }
    impl_->rouse();
}

size_t UserNetwork::open_sockets() const { return impl_->sockets; }

} // namespace player
