#include "player/png_writer.h"

#include "vmm/base/unique_fd.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <string_view>
#include <zlib.h>

namespace player {
namespace {

void put_u32(std::vector<uint8_t>& out, uint32_t value) {
    for (int shift = 24; shift >= 0; shift -= 8)
        out.push_back(static_cast<uint8_t>(value >> shift));
}

// PNG (ISO/IEC 15948) 5.3: length, type, data, CRC over type and data.
void put_chunk(std::vector<uint8_t>& out, std::string_view type, std::span<const uint8_t> data) {
    put_u32(out, static_cast<uint32_t>(data.size()));
    const size_t from = out.size();
    out.insert(out.end(), type.begin(), type.end());
    out.insert(out.end(), data.begin(), data.end());
    put_u32(out, static_cast<uint32_t>(::crc32(0, out.data() + from, static_cast<uInt>(out.size() - from))));
}

} // namespace

base::Result<std::vector<uint8_t>> encode_png(const vmm::Picture& picture) {
    const size_t width = picture.width, height = picture.height;
    if (width == 0 || height == 0 || picture.pixels.size() < width * height)
        return base::fail("the screen is off: there is no picture to take");
    std::vector<uint8_t> rows;
    rows.reserve(height * (1 + width * 3));
    for (size_t y = 0; y < height; ++y) {
        rows.push_back(0); // filter: none
        for (size_t x = 0; x < width; ++x) {
            const uint32_t pixel = picture.pixels[y * width + x];
            rows.insert(rows.end(), {static_cast<uint8_t>(pixel >> 16), static_cast<uint8_t>(pixel >> 8),
                                     static_cast<uint8_t>(pixel)});
        }
    }
    uLongf packed_size = ::compressBound(rows.size());
    std::vector<uint8_t> packed(packed_size);
    if (::compress2(packed.data(), &packed_size, rows.data(), rows.size(), 6) != Z_OK)
        return base::fail("not enough memory for a screenshot");
    packed.resize(packed_size);

    std::vector<uint8_t> png = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
    std::vector<uint8_t> header;
    put_u32(header, picture.width);
    put_u32(header, picture.height);
    header.insert(header.end(), {8, 2, 0, 0, 0}); // 8 bits, RGB, deflate, adaptive filters, not interlaced
    put_chunk(png, "IHDR", header);
    put_chunk(png, "IDAT", packed);
    put_chunk(png, "IEND", {});
    return png;
}

base::Result<void> write_png(const vmm::Picture& picture, const std::string& path) {
    const std::vector<uint8_t> png = TRY(encode_png(picture));
    const std::string partial = fmt::format("{}.{}.part", path, ::getpid());
    base::UniqueFd fd(::open(partial.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    auto failed = [&] {
        const std::string why = std::strerror(errno);
        ::unlink(partial.c_str());
        return base::fail(fmt::format("cannot write screenshot {}: {}", path, why));
    };
    if (!fd.valid())
        return failed();
    for (size_t done = 0; done < png.size();) {
        const ssize_t put = ::write(fd.get(), png.data() + done, png.size() - done);
        if (put < 0 && errno != EINTR)
            return failed();
        done += put > 0 ? static_cast<size_t>(put) : 0;
    }
    if (std::rename(partial.c_str(), path.c_str()) != 0)
        return failed();
    return {};
}

} // namespace player
