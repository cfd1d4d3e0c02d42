// Back to the moment a session began at, or to another: in place where the machine still stands at a scene,
// else with a machine put together anew; what such a machine is told of the present; and the receipt that
// nothing is left.
#include "player/session.h"

#include <algorithm>
#include <fmt/format.h>

namespace player {
namespace {

uint64_t host_time_of_day() {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    return static_cast<uint64_t>(
        std::max<int64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count(), 0));
}

} // namespace

base::Result<SessionIdentity> Session::choose_identity() const {
    if (options_.seed)
        return SessionIdentity::from_seed(*options_.seed);
    if (manifest().policy.identity == appliance_format::IdentityPolicy::Same)
        return SessionIdentity::of_appliance(manifest().appliance.name);
    return SessionIdentity::fresh();
}

// What a machine, as it was saved, has to be told of the present.
vmm::Arrival Session::arrival(machine::Client& machine, std::optional<uint64_t> before) const {
    vmm::Arrival arrival{identity_->machine(), {}};
    switch (manifest().policy.clock) {
    case appliance_format::ClockPolicy::Host:
        arrival.time_of_day = host_time_of_day();
        break;
    case appliance_format::ClockPolicy::Frozen:
        break;
    case appliance_format::ClockPolicy::Continues:
        if (before && *before > machine.time_of_day())
            arrival.time_of_day = before;
        break;
    }
    return arrival;
}

// The old machine goes first, so that nothing it still writes can reach the new one's disks.
base::Result<void> Session::replace_machine() {
    const auto old = machine();
    typist_->forget();
    auto fresh = TRY(start_machine());
    old->stop();
    old->wait_for_end();
    const uint64_t time_of_day = old->time_of_day();
    cable_.reset(); // others may hold the old machine for a while
    if (network_)
        network_->disconnect();
    identity_->renew();
    TRY(set_up(*fresh, time_of_day));
    const std::lock_guard lock(mutex_);
    if (end_ != SessionEnd::None)
        return base::fail("the session is over");
    machine_ = fresh;
    reverts_ += 1;
    held_ = false;
    let_run(*machine_);
    return {};
}

// What is still on its way to the old machine is dropped with it; windows and scripts keep their machine.
base::Result<void> Session::revert_in_place(std::string* receipt) {
    const auto current = machine();
    typist_->forget();
    // A write that waits for room would keep the devices busy.
    current->order_writes(machine::Writes::Order::Abandon);
    current->pause();
    const uint64_t time_of_day = current->time_of_day();
    const auto before = std::chrono::steady_clock::now();
    TRY(current->revert());
    last_revert_ =
        std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - before);
    if (receipt != nullptr) {
        TRY(current->compare());
        *receipt = signing::to_hex(manifest().find_blob(scene_->ram)->root.hash);
    }
    // After the comparison: from here on the machine is no longer what the publisher signed to the last bit.
    identity_->renew();
    current->arrive(arrival(*current, time_of_day));
    const std::lock_guard lock(mutex_);
    if (end_ != SessionEnd::None)
        return base::fail("the session is over");
    reverts_ += 1;
    current->order_writes(machine::Writes::Order::Reopen);
    held_ = false;
    let_run(*current);
    return {};
}

base::Result<void> Session::revert() {
    const std::lock_guard turn(turn_);
    if (state() != SessionEnd::None)
        return base::fail("the session is over");
    const bool in_place = scene_ != nullptr && !saved_ && !machine()->has_ended();
    leave_saved();
    auto done = in_place ? revert_in_place(nullptr) : replace_machine();
    if (!done)
        finish(SessionEnd::Failed, done.error());
    else
        log("revert", {{"scene", scene_ != nullptr ? scene_->name : std::string()}});
    return done;
}

base::Result<void> Session::jump(const std::string& scene) {
    const std::lock_guard turn(turn_);
    if (state() != SessionEnd::None)
        return base::fail("the session is over");
    TRY(choose_scene(scene));
    leave_saved();
    auto done = show_preview();
    if (done)
        done = replace_machine();
    {
        const std::lock_guard lock(mutex_);
        preview_.reset();
    }
    if (!done)
        finish(SessionEnd::Failed, done.error());
    else
        log("jump", {{"scene", scene}});
    return done;
}

base::Result<std::string> Session::revert_with_receipt() {
    const std::lock_guard turn(turn_);
    if (state() != SessionEnd::None)
        return base::fail("the session is over");
    if (scene_ == nullptr || machine()->has_ended())
        return base::fail("the session does not run from a scene: there is nothing to compare with");
    std::string root;
    base::Result<void> done;
    if (saved_) { // another machine's place: first back to the one that the publisher signed
        leave_saved();
        done = replace_machine();
    }
    if (done)
        done = revert_in_place(&root);
    if (!done) {
        log("receipt", {{"scene", scene_->name}, {"pristine", false}});
        finish(SessionEnd::Failed, done.error());
        return tl::make_unexpected(done.error());
    }
    log("receipt", {{"scene", scene_->name}, {"pristine", true}, {"root", root}});
    return root;
}

SessionIdentity Session::identity() const {
    const std::lock_guard turn(turn_);
    return *identity_;
}

} // namespace player
