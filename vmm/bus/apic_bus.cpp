#include "vmm/bus/apic_bus.h"

#include <algorithm>

namespace vmm {

bool ApicBus::send(const ApicMessage& message) {
    LocalApicPort* lowest = nullptr;
    bool accepted = false;
    for (LocalApicPort* local : locals_) {
        if (!local->is_addressed(message))
            continue;
        if (message.mode != DeliveryMode::LowestPriority)
            accepted |= local->receive(message);
        else if (lowest == nullptr || local->arbitration_priority() < lowest->arbitration_priority())
            lowest = local;
    }
    return lowest != nullptr ? lowest->receive(message) : accepted;
}

void ApicBus::end_of_interrupt(uint8_t vector) {
    for (IoApicPort* io : ios_)
        io->end_of_interrupt(vector);
}

void ApicBus::offer_again() {
    for (IoApicPort* io : ios_)
        io->offer_again();
}

bool ApicBus::is_requested(uint8_t vector) const {
    return std::ranges::any_of(locals_, [vector](auto* local) { return local->is_requested(vector); });
}

bool ApicBus::pic_is_heard() const {
    return std::ranges::any_of(locals_, [](auto* local) { return local->takes_pic(); });
}

bool ApicBus::nmi_possible() const {
    return std::ranges::any_of(ios_, [](auto* io) { return io->nmi_possible(); });
}

} // namespace vmm
