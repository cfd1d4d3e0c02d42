// What a reader that was taken over may ask the server of its image: it gets bytes of the image or an error.
#include "appliance-format/image_server.h"
#include "vmm/base/verify.h"

#include <array>
#include <sys/mman.h>
#include <sys/socket.h>
#include <thread>

using namespace appliance_format;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    base::UniqueFd fd{::memfd_create("image", MFD_CLOEXEC)};
    constexpr uint64_t kSize = 5000;
    VERIFY(fd.valid() && ::ftruncate(fd.get(), kSize) == 0);
    const ImageBytes image{std::move(fd), 0, kSize};
    std::array<int, 2> sockets{};
    VERIFY(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets.data()) == 0);
    const base::UniqueFd server{sockets[0]}, client{sockets[1]};
    std::thread reader([&] { // what is answered must be taken, or the server waits
        std::array<char, 4096> bytes{};
        while (::recv(client.get(), bytes.data(), bytes.size(), 0) > 0) {
        }
    });
    std::thread writer([&] {
        (void)!::send(client.get(), data, size, MSG_NOSIGNAL);
        ::shutdown(client.get(), SHUT_WR);
    });
    serve_image(image, server.get(), [] { return true; });
    writer.join();
    reader.join();
    return 0;
}
