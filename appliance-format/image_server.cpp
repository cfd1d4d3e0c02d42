#include "appliance-format/image_server.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <endian.h>
#include <sys/socket.h>
#include <vector>

namespace appliance_format {

namespace {

// doc/proto.md, "Values".
constexpr uint64_t kHello = 0x4e42444d41474943, kHaveOption = 0x49484156454f5054, // NBDMAGIC, IHAVEOPT
    kOptionReply = 0x3e889045565a9;
constexpr uint32_t kRequest = 0x25609513, kSimpleReply = 0x67446698;
constexpr uint16_t kFixedNewstyle = 1, kHasFlags = 1, kReadOnly = 2, kInfoExport = 0;
enum Option : uint32_t { kAbort = 2, kInfo = 6, kGo = 7 };
enum Reply : uint32_t { kAck = 1, kInfoReply = 3, kUnsupported = 0x80000001 };
enum Command : uint16_t { kRead = 0, kDisconnect = 2 };
constexpr uint32_t kInvalid = 22, kInputOutput = 5; // errors, as the protocol numbers them
// Clients deal in whole sectors; qemu 7.2 waits for ever for the rest of a last one that is cut off.
constexpr uint64_t kSector = 512;
constexpr uint32_t kMostOption = 4096, kMostRead = 32u << 20;

class Service {
  public:
    Service(const ImageBytes& image, int socket)
        : image_(image), size_((image.size() + kSector - 1) / kSector * kSector), socket_(socket) {}

    [[nodiscard]] bool negotiate(const std::function<bool()>& first_word) {
        put(kHello);
        put(kHaveOption);
        put(kFixedNewstyle);
        uint32_t flags = 0;
        if (!send() || !get(flags) || !first_word())
            return false;
        for (;;) {
            uint64_t magic = 0;
            uint32_t option = 0, length = 0;
            if (!get(magic) || !get(option) || !get(length) || magic != kHaveOption || length > kMostOption)
                return false;
            std::vector<uint8_t> data(length); // the export's name: there is one
            if (!receive(data.data(), length))
                return false;
            if (option == kInfo || option == kGo) {
                answer(option, kInfoReply, 12);
                put(kInfoExport);
                put(size_);
                put(static_cast<uint16_t>(kHasFlags | kReadOnly));
            }
            answer(option,
                   option == kInfo || option == kGo || option == kAbort ? uint32_t{kAck} : kUnsupported, 0);
            if (!send() || option == kAbort)
                return false;
            if (option == kGo)
                return true;
        }
    }

    void serve() {
        for (;;) {
            uint32_t magic = 0, length = 0;
            uint16_t flags = 0, command = 0;
            uint64_t cookie = 0, offset = 0;
            if (!get(magic) || !get(flags) || !get(command) || !get(cookie) || !get(offset) || !get(length) ||
                magic != kRequest || command == kDisconnect)
                return;
            std::vector<uint8_t> data;
            uint32_t error = kInvalid;
            if (command == kRead && length <= kMostRead && offset <= size_ && length <= size_ - offset) {
                data.resize(length); // zeros, which is what follows the image in its last sector
                const uint64_t left = image_.size() - std::min(image_.size(), offset);
                const auto real = std::span(data).first(std::min<uint64_t>(length, left));
                error = image_.read(std::min(image_.size(), offset), real) ? 0 : kInputOutput;
            }
            put(kSimpleReply);
            put(error);
            put(cookie);
            if (error == 0)
                out_.insert(out_.end(), data.begin(), data.end());
            if (!send())
                return;
        }
    }

  private:
    void answer(uint32_t option, uint32_t reply, uint32_t length) {
        put(kOptionReply);
        put(option);
        put(reply);
        put(length);
    }
    // Big-endian, all of it.
    template <class T> void put(T value) {
        for (int shift = 8 * (int{sizeof value} - 1); shift >= 0; shift -= 8)
            out_.push_back(static_cast<uint8_t>(static_cast<uint64_t>(value) >> shift));
    }
    template <class T> [[nodiscard]] bool get(T& value) {
        std::array<uint8_t, sizeof value> bytes{};
        value = 0;
        if (!receive(bytes.data(), bytes.size()))
            return false;
        for (const uint8_t byte : bytes)
            value = static_cast<T>(static_cast<uint64_t>(value) << 8 | byte);
        return true;
    }
    [[nodiscard]] bool send() {
        for (size_t at = 0; at < out_.size();) {
            const ssize_t sent = ::send(socket_, out_.data() + at, out_.size() - at, MSG_NOSIGNAL);
            if (sent < 0 && errno != EINTR)
                return false;
            at += static_cast<size_t>(std::max<ssize_t>(sent, 0));
        }
        out_.clear();
        return true;
    }
    [[nodiscard]] bool receive(uint8_t* to, size_t length) {
        while (length != 0) {
            const ssize_t got = ::recv(socket_, to, length, 0);
            if (got == 0 || (got < 0 && errno != EINTR))
                return false;
            to += std::max<ssize_t>(got, 0);
            length -= static_cast<size_t>(std::max<ssize_t>(got, 0));
        }
        return true;
    }

    const ImageBytes& image_;
    uint64_t size_; // announced
    int socket_;
    std::vector<uint8_t> out_;
};

} // namespace

void serve_image(const ImageBytes& image, int socket, const std::function<bool()>& first_word) {
    Service service(image, socket);
    if (service.negotiate(first_word))
        service.serve();
    ::shutdown(socket, SHUT_RDWR);
}

ImageServer::ImageServer(std::shared_ptr<const ImageBytes> image, base::UniqueFd socket,
                         std::function<bool()> first_word)
    : socket_(std::move(socket)),
      thread_([image = std::move(image), fd = socket_.get(), first_word = std::move(first_word)] {
          serve_image(*image, fd, first_word);
      }) {}

ImageServer::~ImageServer() {
    ::shutdown(socket_.get(), SHUT_RDWR);
    if (thread_.joinable())
        thread_.join();
}

} // namespace appliance_format
