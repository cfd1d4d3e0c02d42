// Hands an image's bytes to a program over a socket, in the NBD protocol (the NetworkBlockDevice project's
// doc/proto.md): a program behind a wall cannot open files, and what it asks for here can be nothing but
// bytes of this image. One client, reading only.
#pragma once
#include "appliance-format/image_bytes.h"

#include <functional>
#include <memory>
#include <thread>

namespace appliance_format {

// Until the client leaves or breaks the protocol. `first_word` is called when the client has said its first
// word, before it gets a byte of the image; false ends the service.
void serve_image(const ImageBytes& image, int socket, const std::function<bool()>& first_word);

class ImageServer {
  public:
    ImageServer(std::shared_ptr<const ImageBytes> image, base::UniqueFd socket,
                std::function<bool()> first_word);
    ~ImageServer(); // ends the service
    ImageServer(const ImageServer&) = delete;
    // Until the client has left.
    void wait() { thread_.join(); }

  private:
    base::UniqueFd socket_;
    std::thread thread_;
};

} // namespace appliance_format
