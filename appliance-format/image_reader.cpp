#include "appliance-format/image_reader.h"

#include "appliance-format/format.h"
#include "appliance-format/image_server.h"
#include "vmm/jail/foreign_program.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <libnbd.h>
#include <optional>
#include <sys/socket.h>
#include <sys/un.h>
#include <type_traits>

namespace appliance_format {

namespace {

constexpr uint64_t kMapAhead = 1u << 30; // how far one question about holes looks

// libnbd brings TLS and XML along, 10 ms of every start of a program linked to it: loaded when an image wants
// it.
struct Nbd {
    decltype(&nbd_create) create = nullptr;
    decltype(&nbd_close) close = nullptr;
    decltype(&nbd_get_error) get_error = nullptr;
    decltype(&nbd_add_meta_context) add_meta_context = nullptr;
    decltype(&nbd_connect_socket) connect_socket = nullptr;
    decltype(&nbd_get_size) get_size = nullptr;
    decltype(&nbd_can_meta_context) can_meta_context = nullptr;
    decltype(&nbd_pread) pread = nullptr;
    decltype(&nbd_block_status) block_status = nullptr;
    bool loaded = false;

    Nbd() {
        void* library = ::dlopen("libnbd.so.0", RTLD_NOW | RTLD_NODELETE);
        if (library == nullptr)
            return;
        loaded = true;
        const auto find = [&](auto& function, const char* name) {
            function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlsym(library, name));
            loaded = loaded && function != nullptr;
        };
        find(create, "nbd_create");
        find(close, "nbd_close");
        find(get_error, "nbd_get_error");
        find(add_meta_context, "nbd_add_meta_context");
        find(connect_socket, "nbd_connect_socket");
        find(get_size, "nbd_get_size");
        find(can_meta_context, "nbd_can_meta_context");
        find(pread, "nbd_pread");
        find(block_status, "nbd_block_status");
    }
};

const Nbd& nbd() {
    static const Nbd library;
    return library;
}

struct HandleDeleter {
    void operator()(nbd_handle* handle) const { nbd().close(handle); }
};

// A program of qemu's at work on an image, walled in. What it knows of the image is a socket on which the
// bytes are served; the name of the format is ours, never guessed.
class Reader {
  public:
    static base::Result<Reader> start(const char* program, std::vector<std::string> arguments,
                                      std::shared_ptr<const ImageBytes> image, const ImageFormat& format,
                                      const base::UniqueFd* listening) {
        std::array<int, 2> sockets{};
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets.data()) != 0)
            return base::fail(std::strerror(errno), kIo);
        base::UniqueFd ours{sockets[0]}, theirs{sockets[1]};
        std::vector<int> descriptors;
        if (listening != nullptr)
            descriptors.push_back(listening->get());
        constexpr int kFirstDescriptor = 3;
        arguments.push_back(fmt::format("driver={},file.driver=nbd,file.server.type=fd,file.server.str={}",
                                        format.driver, kFirstDescriptor + descriptors.size()));
        descriptors.push_back(theirs.get());
        Reader reader;
        reader.jail_ = std::make_unique<jail::ForeignProgram>(
            TRY(jail::ForeignProgram::start(program, arguments, descriptors, listening != nullptr ? 1 : 0)));
        if (!format.alone && reader.jail_->wall() == jail::ForeignProgram::Wall::None)
            return base::fail(
                "may name other files, and this system offers nothing to keep its reader from them "
                "(neither user namespaces nor Landlock); make a raw image of it first, elsewhere",
                kIo);
        reader.server_ = std::make_unique<ImageServer>(
            std::move(image), std::move(ours), [jail = reader.jail_.get()] { return jail->close_wall(); });
        return reader;
    }
    // Its exit status, when it has read what it wanted.
    int wait() {
        server_->wait();
        return jail_->wait();
    }

  private:
    std::unique_ptr<jail::ForeignProgram> jail_;
    std::unique_ptr<ImageServer> server_; // ends first: it speaks to the jail
};

struct Connection {
    base::UniqueFd listening, connected;
};

// A listening socket with the one connection on it that it will ever have. Its name is the kernel's choice
// and its queue holds one, so a second client is an error here and gets nothing.
base::Result<Connection> own_connection() {
    Connection made{base::UniqueFd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)},
                    base::UniqueFd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)}};
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    socklen_t length = sizeof name.sun_family; // unix(7), "Autobind feature"
    auto* address = reinterpret_cast<sockaddr*>(&name);
    const bool bound = ::bind(made.listening.get(), address, length) == 0;
    length = sizeof name;
    if (!bound || ::getsockname(made.listening.get(), address, &length) != 0 ||
        ::listen(made.listening.get(), 0) != 0 || ::connect(made.connected.get(), address, length) != 0)
        return base::fail(fmt::format("no socket to its reader: {}", std::strerror(errno)), kIo);
    return made;
}

class NbdSource final : public BlobSource {
  public:
    static base::Result<std::unique_ptr<BlobSource>> start(std::shared_ptr<const ImageBytes> image,
                                                           const ImageFormat& format) {
        if (!nbd().loaded)
            return base::fail("libnbd, which reads it, is missing; install the package libnbd0", kIo);
        auto source = std::make_unique<NbdSource>();
        auto [listening, connected] = TRY(own_connection());
        source->reader_ = TRY(
            Reader::start("qemu-nbd", {"--read-only", "--image-opts"}, std::move(image), format, &listening));
        listening.reset();
        source->handle_.reset(nbd().create());
        nbd_handle* handle = source->handle_.get();
        if (handle == nullptr)
            return base::fail(nbd().get_error(), kIo);
        if (nbd().add_meta_context(handle, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0 ||
            nbd().connect_socket(handle, ::fcntl(connected.get(), F_DUPFD_CLOEXEC, 0)) != 0)
            return base::fail("qemu-nbd cannot read it, or it needs another file (what says: qemu-img info)",
                              kIo);
        const int64_t size = nbd().get_size(handle);
        if (size < 0)
            return base::fail(nbd().get_error(), kIo);
        source->size_ = static_cast<uint64_t>(size);
        source->holes_ = nbd().can_meta_context(handle, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
        return source;
    }
    [[nodiscard]] uint64_t size() const override { return size_; }
    base::Result<> read(uint64_t offset, std::span<uint8_t> out) override {
        if (nbd().pread(handle_.get(), out.data(), out.size(), offset, 0) != 0)
            return base::fail(
                fmt::format("the disk image cannot be read at byte {}: {}", offset, nbd().get_error()), kIo);
        return {};
    }
    uint64_t next_data(uint64_t offset) override {
        if (!holes_ || offset < hole_from_ || offset >= hole_until_) {
            if (!holes_ || (offset >= data_from_ && offset < data_until_) || !ask(offset))
                return offset;
        }
        return offset >= hole_from_ && offset < hole_until_ ? hole_until_ : offset;
    }

  private:
    // NBD protocol, "base:allocation": pairs of a length and flags, of which bit 1 says that it reads as
    // zero. The first run of either kind from `offset` on.
    bool ask(uint64_t offset) {
        struct Answer {
            uint64_t length = 0;
            bool zero = false, closed = false;
        } answer;
        nbd_extent_callback callback{};
        callback.user_data = &answer;
        callback.callback = [](void* data, const char*, uint64_t, uint32_t* entries, size_t count, int*) {
            constexpr uint32_t kZero = 2;
            auto& to = *static_cast<Answer*>(data);
            for (size_t i = 0; i + 1 < count && !to.closed; i += 2) {
                const bool zero = (entries[i + 1] & kZero) != 0;
                to.closed = to.length != 0 && zero != to.zero;
                if (to.closed)
                    break;
                to.zero = zero;
                to.length += entries[i];
            }
            return 0;
        };
        if (nbd().block_status(handle_.get(), std::min(kMapAhead, size_ - offset), offset, callback, 0) !=
                0 ||
            answer.length == 0) {
            holes_ = false; // read everything
            return false;
        }
        const uint64_t until = offset + std::min(answer.length, size_ - offset);
        (answer.zero ? hole_from_ : data_from_) = offset;
        (answer.zero ? hole_until_ : data_until_) = until;
        return true;
    }

    std::optional<Reader> reader_;
    std::unique_ptr<nbd_handle, HandleDeleter> handle_;
    uint64_t size_ = 0;
    bool holes_ = false;
    uint64_t hole_from_ = 0, hole_until_ = 0, data_from_ = 0, data_until_ = 0;
};

} // namespace

base::Result<> check_image(std::shared_ptr<const ImageBytes> image, const ImageFormat& format) {
    constexpr int kNoCheck = 63, kLeaks = 3; // qemu-img(1), check: the format has none; room is wasted
    auto reader =
        TRY(Reader::start("qemu-img", {"check", "-q", "--image-opts"}, std::move(image), format, nullptr));
    const int code = reader.wait();
    if (code != 0 && code != kNoCheck && code != kLeaks)
        return base::fail("is cut short or damaged, or needs another file (what says: qemu-img check)", kIo);
    return {};
}

base::Result<std::unique_ptr<BlobSource>> read_image(std::shared_ptr<const ImageBytes> image,
                                                     const ImageFormat& format) {
    return NbdSource::start(std::move(image), format);
}

} // namespace appliance_format
