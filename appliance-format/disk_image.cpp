#include "appliance-format/disk_image.h"

#include "appliance-format/format.h"
#include "appliance-format/image_reader.h"

#include <algorithm>
#include <cerrno>
#include <fmt/format.h>
#include <unistd.h>

namespace appliance_format {

namespace {

using Bytes = std::shared_ptr<const ImageBytes>;

base::Error located(const std::string& name, const base::Error& error) {
    return {error.code, fmt::format("{} {}", name, error.message)};
}

base::Result<Bytes> unpacked(ImageBytes bytes, const std::string& name) {
    if (compression_of(bytes) == nullptr)
        return std::make_shared<const ImageBytes>(std::move(bytes));
    auto inside = unpack(bytes);
    if (!inside)
        return tl::make_unexpected(located(name, inside.error()));
    return std::make_shared<const ImageBytes>(*std::move(inside));
}

class BlankSource final : public BlobSource {
  public:
    explicit BlankSource(uint64_t size) : size_(size) {}
    [[nodiscard]] uint64_t size() const override { return size_; }
    base::Result<> read(uint64_t, std::span<uint8_t> out) override {
        std::ranges::fill(out, uint8_t{0});
        return {};
    }
    uint64_t next_data(uint64_t) override { return size_; }

  private:
    uint64_t size_;
};

} // namespace

std::string chunk_name(const std::string& name, size_t number) {
    return fmt::format("{}.{:09}", name, number);
}

base::Result<Bytes> ImageShelf::file(const std::string& path) {
    if (const auto found = files_.find(path); found != files_.end())
        return found->second;
    Bytes bytes = TRY(unpacked(TRY(ImageBytes::open(path)), path));
    return files_.emplace(path, std::move(bytes)).first->second;
}

base::Result<std::vector<ArchiveMember>> ImageShelf::members(const std::string& path) {
    auto members = list_archive(*TRY(file(path)));
    if (!members)
        return tl::make_unexpected(located(path, members.error()));
    return members;
}

base::Result<Bytes> ImageShelf::find(const ImagePlace& place) {
    const std::string name = place.name();
    if (const auto found = files_.find(name); found != files_.end())
        return found->second;
    std::vector<ImageBytes> parts;
    if (place.member.empty()) {
        if (::access(place.path.c_str(), F_OK) == 0 || ::access(chunk_name(place.path, 0).c_str(), F_OK) != 0)
            return file(place.path);
        for (size_t i = 0; ::access(chunk_name(place.path, i).c_str(), F_OK) == 0; ++i)
            parts.push_back(TRY(ImageBytes::open(chunk_name(place.path, i))));
    } else {
        const Bytes archive = TRY(file(place.path));
        const auto members = TRY(this->members(place.path));
        const auto add = [&](const std::string& wanted) -> base::Result<bool> {
            const auto member = std::ranges::find(members, wanted, &ArchiveMember::name);
            if (member == members.end())
                return false;
            parts.push_back(TRY(archive->part(member->offset, member->size)));
            return true;
        };
        if (!TRY(add(place.member)))
            while (TRY(add(chunk_name(place.member, parts.size())))) {
            }
        if (parts.empty())
            return base::fail(fmt::format("{}: there is no {} in it", place.path, place.member), kIo);
    }
    if (parts.size() > 1) {
        auto joined = join(parts);
        if (!joined)
            return tl::make_unexpected(located(name, joined.error()));
        parts.clear();
        parts.push_back(*std::move(joined));
    }
    Bytes bytes = TRY(unpacked(std::move(parts.front()), name));
    return files_.emplace(name, std::move(bytes)).first->second;
}

base::Result<std::unique_ptr<BlobSource>> open_medium(ImageShelf& shelf, const ImagePlace& place,
                                                      MediaKind kind, TakeAs take) {
    const Bytes image = TRY(shelf.find(place));
    const std::string name = place.name();
    if (image->size() == 0)
        return base::fail(fmt::format("{} is empty", name), kIo);
    const uint64_t sector = kind == MediaKind::Cdrom ? 2048 : 512;
    auto format =
        take == TakeAs::Raw ? base::Result<ImageFormat>(ImageFormat{"raw", ""}) : image_format(*image);
    // What is said to be a floppy and has a floppy's size is one, whatever is on it.
    if (!format && format.error().code == kUnknownImage && kind == MediaKind::Floppy &&
        is_floppy_size(image->size()))
        format = ImageFormat{"floppy", "", true, MediaKind::Floppy};
    if (!format)
        return tl::make_unexpected(located(name, format.error()));
    std::unique_ptr<BlobSource> source;
    if (*format->driver == '\0') {
        source = std::make_unique<FileSource>(image, name);
    } else {
        const auto failed = [&](const base::Error& error) {
            return base::fail(fmt::format("{} (a {} image) {}", name, format->name, error.message), kIo);
        };
        if (const auto whole = check_image(image, *format); !whole)
            return failed(whole.error());
        auto read = read_image(image, *format);
        if (!read)
            return failed(read.error());
        source = *std::move(read);
    }
    if (source->size() == 0 || source->size() % sector != 0)
        return base::fail(fmt::format("{}: its size ({} bytes) is not a multiple of {} bytes", name,
                                      source->size(), sector),
                          kIo);
    return source;
}

std::unique_ptr<BlobSource> blank_disk(uint64_t bytes) { return std::make_unique<BlankSource>(bytes); }

} // namespace appliance_format
