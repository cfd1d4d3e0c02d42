#include "player/network_process.h"

#include "player/fragment_collector.h"
#include "player/frame_channel.h"
#include "player/network_filter.h"
#include "player/network_orders.h"
#include "vmm/base/verify.h"
#include "vmm/jail/filters/filters.h"
#include "vmm/jail/room.h"

#include <arpa/inet.h>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>
#include <deque>
#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <slirp/libslirp.h>
#include <string_view>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <variant>

namespace player {
namespace {

using Frame = std::vector<uint8_t>;
using Kind = NetworkReport::Kind;

// Frames for the guest: from kEnough on no more is read of the sockets; more than kMostIncoming are not kept.
constexpr size_t kEnough = FrameChannel::kSlots, kMostIncoming = 1024;
// That it starts with.
constexpr int kDescriptors =
    kChannelDescriptor - kOrdersDescriptor + static_cast<int>(FrameChannel::kDescriptors);
constexpr uint64_t kMemory = 512u << 20;
constexpr unsigned kFiles =
    NetworkFilter::kMostSockets + 144; // and forwarded connections, which the library bounds

struct Library {
    decltype(&::slirp_new) make = nullptr;
    decltype(&::slirp_input) input = nullptr;
    decltype(&::slirp_pollfds_fill) fill = nullptr;
    decltype(&::slirp_pollfds_poll) poll = nullptr;
    decltype(&::slirp_add_hostfwd) forward = nullptr;
    void (*log_handler)(void (*)(const char*, int, const char*, void*), void*) = nullptr; // GLib's
};

std::variant<Library, Kind> load_library() {
    void* handle = ::dlopen("libslirp.so.0", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (handle == nullptr)
        return Kind::NoLibrary;
    Library library;
    const auto find = [&](auto& function, const char* name) {
        function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlsym(handle, name));
        return function != nullptr;
    };
    if (!find(library.make, "slirp_new") || !find(library.input, "slirp_input") ||
        !find(library.fill, "slirp_pollfds_fill") || !find(library.poll, "slirp_pollfds_poll") ||
        !find(library.forward, "slirp_add_hostfwd") ||
        !find(library.log_handler, "g_log_set_default_handler"))
        return Kind::OldLibrary;
    return library;
}

// libslirp asks /etc/resolv.conf for the name server, and asks again when that changes. Neither name leads
// anywhere in here: the kernel asks us (Room::answer), and what is in the file is what our orders say.
struct NameServerFile {
    uint32_t address = 0;
    int64_t version = 0;

    void set(uint32_t now) {
        version += now != address ? 1 : 0;
        address = now;
    }
    [[nodiscard]] long open() const {
        int ends[2];
        if (address == 0)
            return -ENOENT;
        if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
            return -errno;
        char text[40];
        const in_addr number{htonl(address)};
        char dotted[INET_ADDRSTRLEN];
        const int length = std::snprintf(text, sizeof text, "nameserver %s\n",
                                         ::inet_ntop(AF_INET, &number, dotted, sizeof dotted));
        [[maybe_unused]] const ssize_t written = ::write(ends[1], text, static_cast<size_t>(length));
        ::close(ends[1]);
        return ends[0];
    }
    [[nodiscard]] long look(struct stat& info) const {
        info = {};
        info.st_mode = S_IFREG | 0444;
        info.st_blksize = 4096;
        info.st_mtime = version;
        return address != 0 ? 0 : -ENOENT;
    }
};
NameServerFile name_server_file;

std::optional<long> answer(int call, const std::array<uint64_t, 6>& arguments) {
    if (call == SYS_fstat) // of it, once it is open
        return name_server_file.look(*reinterpret_cast<struct stat*>(arguments[1]));
    const auto* name = reinterpret_cast<const char*>(arguments[1]);
    const bool is_it = std::string_view(name) == "/etc/resolv.conf";
    const bool is_open_one = *name == 0 && (arguments[3] & AT_EMPTY_PATH) != 0;
    if (call == SYS_openat && is_it && (arguments[2] & O_ACCMODE) == O_RDONLY)
        return name_server_file.open();
    if (call == SYS_newfstatat && (is_it || is_open_one))
        return name_server_file.look(*reinterpret_cast<struct stat*>(arguments[2]));
    return std::nullopt;
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

class Translation {
  public:
    Translation(const Library& library, NetworkOrders orders, FrameChannel channel)
        : library_(library), orders_(std::move(orders)), channel_(std::move(channel)) {}
    // Before the walls: takes the ports that are forwarded, and says how many.
    int open();
    // Until somebody ends it.
    int work();

  private:
    std::optional<int> hear_orders();
    void take_frames();
    void input(std::span<const uint8_t> piece);
    void deliver(std::span<const uint8_t> frame);
    void pass_on();
    void poll_sockets(bool hold, bool busy);
    [[nodiscard]] Reach reach() const {
        return Reach(orders_.granted,
                     orders_.around.known
                         ? std::optional(HostNetworks{orders_.around.own, orders_.around.attached, {}})
                         : std::nullopt);
    }

    const Library& library_;
    NetworkOrders orders_;
    FrameChannel channel_;
    Slirp* slirp_ = nullptr;
    NetworkFilter filter_;
    FragmentCollector fragments_;
    size_t sockets_ = 0;
    std::deque<Frame> late_; // for the guest, when the channel is full
    std::vector<pollfd> polled_;
};

void send_report(const NetworkReport& report) {
    const auto message = to_message(report);
    [[maybe_unused]] const ssize_t sent =
        ::send(kOrdersDescriptor, message.data(), message.size(), MSG_NOSIGNAL);
}

int Translation::open() {
    static const SlirpCb callbacks = [] {
        SlirpCb made{};
        made.send_packet = [](const void* frame, size_t length, void* self) {
            static_cast<Translation*>(self)->deliver({static_cast<const uint8_t*>(frame), length});
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
        made.register_poll_fd = [](int, void* self) { ++static_cast<Translation*>(self)->sockets_; };
        made.unregister_poll_fd = [](int, void* self) { --static_cast<Translation*>(self)->sockets_; };
        made.notify = [](void*) {}; // only this thread gives it anything
        return made;
    }();
    library_.log_handler([](const char*, int, const char*, void*) {}, nullptr); // nobody would read it
    std::vector<uint16_t> forwarded;
    for (const auto& forward : orders_.forward)
        forwarded.push_back(forward.guest);
    filter_ = NetworkFilter(orders_.network, reach(), std::move(forwarded));
    name_server_file.set(orders_.around.name_server);
    SlirpConfig config{};
    config.version = SLIRP_CONFIG_VERSION_MAX;
    config.in_enabled = true;
    config.vnetwork = address(filter_.network().address);
    config.vnetmask = address(filter_.network().mask());
    config.vhost = address(filter_.host());
    config.vnameserver = address(filter_.name_server());
    config.vdhcp_start = address(filter_.first_guest());
    config.disable_host_loopback = true;
    slirp_ = library_.make(&config, &callbacks, this);
    VERIFY(slirp_ != nullptr); // null: it does not know the configuration's version
    // What the libraries opened goes, so that the ports' sockets are the descriptors that follow ours.
    ::syscall(SYS_close_range, kOrdersDescriptor + kDescriptors, ~0u, 0);
    int taken = 0;
    for (const auto& forward : orders_.forward)
        if (library_.forward(slirp_, 0, address(INADDR_LOOPBACK), forward.host,
                             address(filter_.first_guest()), forward.guest) == 0)
            ++taken;
        else
            send_report({Kind::PortTaken, {}, forward, static_cast<uint32_t>(errno)});
    return taken;
}

// The exit status, if it is to end.
std::optional<int> Translation::hear_orders() {
    static std::vector<uint8_t> room(kLongestOrder);
    const ssize_t length = ::recv(kOrdersDescriptor, room.data(), room.size(), MSG_DONTWAIT);
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return std::nullopt;
    if (length <= 0)
        return kEndTold; // nobody is there any more
    auto around = surroundings_from({room.data(), static_cast<size_t>(length)});
    if (!around)
        return kEndOrders;
    orders_.around = std::move(*around);
    filter_.set_reach(reach());
    name_server_file.set(orders_.around.name_server);
    return std::nullopt;
}

void Translation::deliver(std::span<const uint8_t> frame) {
    // None is too long: the library keeps to the MTU.
    if (frame.size() > FrameChannel::kMaxFrame || !filter_.admits(frame))
        return;
    if (late_.empty() && channel_.put(frame))
        return;
    // What is too much, TCP sends again.
    if (late_.size() + FrameChannel::kSlots < kMostIncoming)
        late_.emplace_back(frame.begin(), frame.end());
}

void Translation::pass_on() {
    while (!late_.empty() && channel_.put(late_.front()))
        late_.pop_front();
}

void Translation::input(std::span<const uint8_t> piece) {
    const auto frame = fragments_.take(piece, FragmentCollector::Clock::now());
    if (frame.empty())
        return;
    const NetworkFilter::Verdict verdict = filter_.judge(frame, sockets_);
    if (verdict.announcement)
        library_.input(slirp_, verdict.announcement->data(), static_cast<int>(verdict.announcement->size()));
    if (verdict.passes)
        library_.input(slirp_, frame.data(), static_cast<int>(frame.size()));
}

// As many as fit in the channel; then the sockets have their turn.
void Translation::take_frames() {
    std::array<uint8_t, FrameChannel::kMaxFrame> frame;
    size_t length = 0;
    for (uint32_t i = 0; i < FrameChannel::kSlots && (length = channel_.take(frame)) != 0; ++i)
        input({frame.data(), length});
}

// Sleeps, unless `busy`, until a socket, the guest or one of TCP's timers has something; without connections
// for ever.
void Translation::poll_sockets(bool hold, bool busy) {
    uint32_t timeout = UINT32_MAX;
    polled_ = {{channel_.bell(), POLLIN, 0}, {kOrdersDescriptor, POLLIN, 0}};
    if (!hold)
        library_.fill(
            slirp_, &timeout,
            [](int fd, int events, void* self) {
                auto& all = static_cast<Translation*>(self)->polled_;
                all.push_back({fd, poll_events(events), 0});
                return static_cast<int>(all.size()) - 1;
            },
            this);
    const int wait = busy ? 0 : timeout > 1u << 30 ? -1 : static_cast<int>(timeout);
    const int happened = ::poll(polled_.data(), polled_.size(), wait);
    if (polled_[0].revents != 0)
        channel_.hear();
    if (!hold)
        library_.poll(
            slirp_, happened < 0 ? 1 : 0,
            [](int index, void* self) {
                const auto& all = static_cast<Translation*>(self)->polled_;
                return static_cast<size_t>(index) < all.size()
                           ? slirp_events(all[static_cast<size_t>(index)].revents)
                           : 0;
            },
            this);
}

int Translation::work() {
    for (;;) {
        pass_on(); // first: what it makes room for is not dropped
        take_frames();
        channel_.show_sockets(static_cast<uint32_t>(sockets_));
        const size_t waiting = channel_.pending() + late_.size();
        const bool hold = waiting >= kEnough && !channel_.want_room();
        const bool busy =
            channel_.want_frames() || (!late_.empty() && channel_.pending() < FrameChannel::kSlots);
        if (channel_.broken())
            return kEndFrames;
        poll_sockets(hold, busy);
        if (polled_[1].revents != 0)
            if (const auto end = hear_orders())
                return *end;
    }
}

std::optional<NetworkOrders> first_orders() {
    std::vector<uint8_t> room(kLongestOrder);
    const ssize_t length = ::recv(kOrdersDescriptor, room.data(), room.size(), 0);
    return length > 0 ? orders_from({room.data(), static_cast<size_t>(length)}) : std::nullopt;
}

} // namespace

int run_network_process() {
    ::signal(SIGPIPE, SIG_IGN);
    auto orders = first_orders();
    auto channel =
        FrameChannel::open({base::UniqueFd(kChannelDescriptor), base::UniqueFd(kChannelDescriptor + 1),
                            base::UniqueFd(kChannelDescriptor + 2)},
                           FrameChannel::End::World);
    if (!orders || !channel)
        return kEndOrders;
    const auto library = load_library();
    if (const Kind* why = std::get_if<Kind>(&library)) {
        send_report({*why, {}, {}, 0});
        return kEndStart;
    }
    Translation translation(std::get<Library>(library), std::move(*orders), std::move(*channel));
    const int ports = translation.open();
    const auto walls = jail::enter({.descriptors = kDescriptors + ports,
                                    .calls = jail::kNetworkCalls,
                                    .memory = kMemory,
                                    .files = kFiles,
                                    .connects = true,
                                    .answer = answer});
    if (!walls || !walls->filter) {
        send_report({Kind::CannotBeWalled, {}, {}, 0});
        return kEndStart;
    }
    send_report({Kind::Ready, *walls, {}, 0});
    return translation.work();
}

} // namespace player
