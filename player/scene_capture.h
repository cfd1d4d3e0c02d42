// From a machine at rest to a scene in its bundle. What the bundle holds already is referred to, not read:
// RAM that was not written since the machine was opened at a scene, and disk chunks the session did not
// write.
#pragma once
#include "appliance-format/bundle_writer.h"
#include "player/overlay_port.h"
#include "vmm/machine.h"

#include <memory>
#include <string>
#include <vector>

namespace player {

// A machine and where it came from. All of it stays still meanwhile.
struct CaptureSubject {
    vmm::Machine& machine;
    const appliance_format::Scene* origin = nullptr;           // it was opened at; null: booted
    const std::vector<std::shared_ptr<OverlayPort>>& overlays; // by medium
};

struct SceneLabel {
    std::string name, title;
    bool start = false; // sessions begin here from now on
};

// Writes `bundle` anew, with the scene in it, under its own name; the old file is replaced at the very end.
// `bundle` is authenticated, and the one the machine runs from or an extension of it. Errors: the name is
// taken or not allowed; those of BundleWriter.
base::Result<void> add_scene(const appliance_format::Bundle& bundle, const CaptureSubject& subject,
                             const SceneLabel& label, const signing::Signer& signer,
                             appliance_format::WriterOptions options);

// The pages a scene's first seconds need, in the order of their first touch.
base::Result<void> set_hot_pages(const appliance_format::Bundle& bundle, const std::string& scene,
                                 const std::vector<uint32_t>& pages, const signing::Signer& signer);

// Changes the list of scenes in `change` and writes the bundle anew. Blobs that no scene names any more are
// left out.
base::Result<void> edit_scenes(const appliance_format::Bundle& bundle, const signing::Signer& signer,
                               const std::function<base::Result<void>(appliance_format::Manifest&)>& change);

} // namespace player
