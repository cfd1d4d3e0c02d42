// Arbitrary bytes as the signature of a fixed content.
#include "signing/outcome.h"
#include "signing/verify.h"
#include "vmm/base/verify.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const uint8_t content[] = {'{', '}'};
    auto publisher = signing::verify_signature(content, {data, size});
    VERIFY(publisher || publisher.error().code == signing::kTampered ||
           publisher.error().code == signing::kUnsigned);
    return 0;
}
