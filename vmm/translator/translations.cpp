#include "vmm/translator/translations.h"

#include "vmm/base/verify.h"
#include "vmm/translator/ring0_stubs.h"
#include "vmm/translator/vcpu.h"

#include <algorithm>

namespace vmm {

// Larger guests run more programs; small machines shall stay small.
static uint32_t code_cache_for(const GuestMemory& memory) {
    constexpr uint64_t kLeast = 24u << 20, kMost = 96u << 20, kShareOfRam = 24;
    return static_cast<uint32_t>(std::clamp<uint64_t>(memory.ram_bytes() / kShareOfRam, kLeast, kMost) &
                                 ~(kPageSize - 1ull));
}

base::Result<std::unique_ptr<Translations>>
Translations::create(GuestMemory& memory, const EngineConfig& config, const Named& named) {
    std::unique_ptr<Translations> made(new Translations(memory, config, named));
    // Backing may still grow by as much as GuestMemory allows; the page after all of it stands for uncached
    // code.
    constexpr uint32_t kMostAddedPages = (256u << 20) >> kPageShift;
    made->uncached_backing = static_cast<uint32_t>(memory.backing_bytes() >> kPageShift) + kMostAddedPages;
    made->cache =
        TRY(CodeCache::create(config.code_cache_bytes != 0 ? config.code_cache_bytes : code_cache_for(memory),
                              made->uncached_backing + 1, memory.data(), made->uncached_backing));
    made->page_links = std::make_unique<PageLinks>(*made->cache);
    CodeMemory& code = made->cache->memory();
    Emitter emitter(code.writable(code.executable()), kPageSize, code.executable());
    Stubs& stubs = made->stubs;
    stubs = emit_stubs(emitter, config.host_rotates,
                       config.addressing != nullptr ? *config.addressing : kWindow32);
    emit_ring0_stubs(emitter, stubs);
    made->cache->set_stub_end(static_cast<uint32_t>(emitter.address()));
    made->cache->set_exit_stubs(stubs.indirect_miss, stubs.return_miss, stubs.leave_link,
                                link_stub_for(*stubs.plan));
    made->translator = std::make_unique<BlockTranslator>(*made->cache, stubs, named.runtime.runtime(),
                                                         named.segments, named.runtime.has_arrival_guard(),
                                                         config.host_maker, config.host_rotates);
    made->containment = std::make_unique<Containment>(
        *made->cache, containment_rules(code, stubs, named.runtime, named.segments),
        config.verify_containment ? Containment::Blocks::All : Containment::Blocks::Sampled,
        [self = made.get()] {
            for (Vcpu* vcpu : self->vcpus_)
                vcpu->stop_requested.store(true);
        });
    if (!made->containment->check_stubs())
        return base::fail(made->containment->failure());
    made->cache->set_patch_check(made->containment.get());
    memory.set_observer(made.get());
    return made;
}

Translations::~Translations() { memory.set_observer(nullptr); }

void Translations::add(Vcpu& vcpu) {
    VERIFY(vcpus_.empty() && vcpu.runtime_memory.get() == &named_.runtime &&
           &vcpu.segments == &named_.segments);
    vcpus_.push_back(&vcpu);
    vcpu.shared = this;
    vcpu.contexts.set_miss_stubs(stubs.indirect_miss, stubs.return_miss);
}

Block* Translations::checked(Block* block, BlockUse use) {
    if (block != nullptr)
        (void)containment->check_block(
            *block, use, use == BlockUse::Fresh ? translator->loop_heads() : std::span<const uint32_t>());
    return unless_refused(block);
}

// The dispatchers have been told to stop.
Block* Translations::unless_refused(Block* block) {
    if (block == nullptr || containment->failure().empty())
        return block;
    cache->replace(*block);
    return nullptr;
}

void Translations::flush() {
    cache->flush();
    busy.clear();
    page_links->clear();
}

void Translations::code_died() {
    for (Vcpu* vcpu : vcpus_)
        vcpu->code_changed = true;
}

void Translations::page_remapped(uint32_t physical_page) {
    const PageEntry old = memory.entry(physical_page);
    const bool memory_before = old.kind == PageKind::Ram || old.kind == PageKind::Rom;
    const bool code =
        memory_before && old.backing < memory.backing_bytes() >> kPageShift && cache->has_blocks(old.backing);
    for (Vcpu* vcpu : vcpus_) {
        if (memory_before)
            vcpu->windows->revoke(old.backing);
        vcpu->flush_requested = vcpu->flush_requested || code;
        vcpu->contexts_stale = true;
    }
}

void Translations::all_remapped() {
    for (Vcpu* vcpu : vcpus_) {
        vcpu->linear->flush();
        vcpu->windows->revoke_all();
        vcpu->flush_requested = vcpu->contexts_stale = true;
    }
}

void Translations::code_written(uint32_t backing, uint32_t offset, uint32_t length) {
    if (cache->invalidate_range(backing, offset, length)) {
        code_died();
    } else if (cache->has_blocks(backing) && cache->store_beside_code(backing)) {
        cache->invalidate_page(backing);
        code_died();
    }
    if (!cache->has_blocks(backing)) // no code any more: stores are plain again
        memory.set_code(backing, false);
}

void Translations::page_dropped(uint32_t backing) {
    for (Vcpu* vcpu : vcpus_)
        vcpu->windows->revoke(backing);
    if (memory.is_code(backing)) {
        cache->invalidate_page(backing);
        memory.set_code(backing, false);
        code_died();
    }
}

void Translations::page_watched(uint32_t backing) {
    for (Vcpu* vcpu : vcpus_)
        vcpu->windows->write_protect(backing);
}

// In the middle of an instruction, perhaps: it may finish, on zeros, but the block is left right after it and
// the dispatcher stops.
void Translations::page_failed() {
    for (Vcpu* vcpu : vcpus_) {
        vcpu->stop_requested.store(true);
        vcpu->interrupt_due = true;
        vcpu->arm_poll();
    }
}

} // namespace vmm
