// The packs of a bundle being written: stored objects appended back to back in nameless scratch files,
// because the manifest, which comes first in the archive, is known last. Tree nodes have packs of their own,
// so that looking something up touches few pages of the file.
#pragma once
#include "appliance-format/manifest.h"
#include "vmm/base/unique_fd.h"

#include <array>
#include <memory>
#include <string>
#include <vector>

namespace appliance_format {

class PackSpool {
  public:
    enum class Kind { Chunks, Index };
    struct Place {
        uint16_t pack;
        uint64_t offset;
    };
    // A pack's bytes: `info.size` from `offset` of `fd`.
    struct Pack {
        PackInfo info;
        int fd;
        uint64_t offset;
    };

    // `pack_limit` bounds each pack; smaller than the format's only in tests.
    PackSpool(std::string folder, uint64_t pack_limit);

    // Takes over a pack of an existing bundle, before any append(); `fd` outlives the spool.
    void adopt(PackInfo info, int fd, uint64_t offset);
    base::Result<Place> append(Kind kind, std::span<const uint8_t> stored);
    // Flushes and closes the digests; no append() after.
    base::Result<std::vector<Pack>> finish();

  private:
    struct Open {
        base::UniqueFd fd;
        std::unique_ptr<signing::Sha256> hash;
        std::vector<uint8_t> pending; // not yet written
        size_t pack = 0;              // index into packs_
        bool active = false;
    };
    base::Result<> start(Kind kind);
    base::Result<> flush(Open& open);
    base::Result<> close(Open& open);

    std::string folder_;
    uint64_t pack_limit_;
    std::vector<Pack> packs_;
    std::vector<base::UniqueFd> files_;
    std::array<Open, 2> open_;
};

} // namespace appliance_format
