// Translated code and all it takes to make it, whichever processor runs it; with guest memory it is what a
// machine's processors share. Changes of memory come here, and go to the code they concern and to every
// processor.
#pragma once
#include "vmm/code_cache/code_cache.h"
#include "vmm/code_cache/page_links.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/translator/block_translator.h"
#include "vmm/translator/containment.h"
#include "vmm/translator/engine.h"
#include "vmm/translator/runtime_memory.h"
#include "vmm/translator/segment_cache.h"

#include <memory>
#include <unordered_set>
#include <vector>

namespace vmm {

struct Vcpu;

struct Translations final : MemoryObserver {
    // What code names by address, so that one processor only can run it.
    struct Named {
        const RuntimeMemory& runtime; // the slot
        const SegmentCache& segments; // its tables
    };
    static base::Result<std::unique_ptr<Translations>> create(GuestMemory& memory, const EngineConfig& config,
                                                              const Named& named);
    ~Translations() override;

    // The processor whose parts are `named`. It must not outlive this.
    void add(Vcpu& vcpu);

    // A block that is about to run, or null: it was refused, and so is everything from now on.
    Block* checked(Block* block, BlockUse use);
    Block* unless_refused(Block* block);
    [[nodiscard]] bool full() const { return cache->room() < 2 * BlockTranslator::kMaxBlockBytes; }
    void flush();

    // MemoryObserver
    void page_remapped(uint32_t physical_page) override;
    void all_remapped() override;
    void code_written(uint32_t backing, uint32_t offset, uint32_t length) override;
    void page_dropped(uint32_t backing) override;
    void page_watched(uint32_t backing) override;
    void page_failed() override;

    GuestMemory& memory;
    const EngineConfig config;
    std::unique_ptr<CodeCache> cache;
    std::unique_ptr<PageLinks> page_links;
    Stubs stubs;
    std::unique_ptr<BlockTranslator> translator;
    std::unique_ptr<Containment> containment;
    uint32_t uncached_backing = 0; // stands for the page of code that is not kept
    // Places whose blocks are made whole at once.
    static uint64_t busy_place(uint32_t backing, uint16_t offset) {
        return uint64_t{backing} << kPageShift | offset;
    }
    std::unordered_set<uint64_t> busy;

  private:
    Translations(GuestMemory& guest_memory, const EngineConfig& how, const Named& of)
        : memory(guest_memory), config(how), named_(of) {}
    // Some of it: every processor leaves its block at the next chance.
    void code_died();

    const Named named_;
    std::vector<Vcpu*> vcpus_;
};

} // namespace vmm
