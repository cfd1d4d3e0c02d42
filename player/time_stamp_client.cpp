#include "player/time_stamp_client.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <fmt/format.h>
#include <memory>

namespace player {
namespace {

constexpr size_t kMostBytes = 64u << 10; // of an answer
constexpr long kPatience = 30;           // seconds

struct Library {
    decltype(&::curl_easy_init) init = nullptr;
    decltype(&::curl_easy_setopt) set = nullptr;
    decltype(&::curl_easy_perform) perform = nullptr;
    decltype(&::curl_easy_getinfo) info = nullptr;
    decltype(&::curl_easy_strerror) reason = nullptr;
    decltype(&::curl_easy_cleanup) cleanup = nullptr;
    decltype(&::curl_slist_append) append = nullptr;
    decltype(&::curl_slist_free_all) free_list = nullptr;
};

base::Result<Library> load_library() {
    void* handle = ::dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (handle == nullptr)
        return base::fail(
            fmt::format("cannot ask a time-stamp authority: {}; install the package libcurl4", ::dlerror()));
    Library library;
    const auto find = [&](auto& function, const char* name) {
        function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlsym(handle, name));
        return function != nullptr;
    };
    if (!find(library.init, "curl_easy_init") || !find(library.set, "curl_easy_setopt") ||
        !find(library.perform, "curl_easy_perform") || !find(library.info, "curl_easy_getinfo") ||
        !find(library.reason, "curl_easy_strerror") || !find(library.cleanup, "curl_easy_cleanup") ||
        !find(library.append, "curl_slist_append") || !find(library.free_list, "curl_slist_free_all"))
        return base::fail("cannot ask a time-stamp authority: libcurl.so.4 is too old");
    return library;
}

size_t take(const char* bytes, size_t unit, size_t count, std::vector<uint8_t>* answer) {
    if (answer->size() + unit * count > kMostBytes)
        return 0; // which ends it
    answer->insert(answer->end(), bytes, bytes + unit * count);
    return unit * count;
}

base::Result<std::vector<uint8_t>> post(const Library& library, const std::string& address,
                                        std::span<const uint8_t> query) {
    const std::unique_ptr<CURL, decltype(library.cleanup)> request(library.init(), library.cleanup);
    const std::unique_ptr<curl_slist, decltype(library.free_list)> headers(
        library.append(nullptr, "Content-Type: application/timestamp-query"), library.free_list);
    if (!request || !headers)
        return base::fail("out of memory while asking a time-stamp authority");
    std::vector<uint8_t> answer;
    const auto set = [&](CURLoption option, auto value) { library.set(request.get(), option, value); };
    set(CURLOPT_URL, address.c_str());
    set(CURLOPT_PROTOCOLS_STR, "http,https");
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_TIMEOUT, kPatience);
    set(CURLOPT_HTTPHEADER, headers.get());
    set(CURLOPT_POSTFIELDS, reinterpret_cast<const char*>(query.data()));
    set(CURLOPT_POSTFIELDSIZE, static_cast<long>(query.size()));
    set(CURLOPT_WRITEFUNCTION, take);
    set(CURLOPT_WRITEDATA, &answer);
    const CURLcode result = library.perform(request.get());
    if (result != CURLE_OK)
        return base::fail(fmt::format("{}: no time stamp: {}", address, library.reason(result)));
    long status = 0;
    library.info(request.get(), CURLINFO_RESPONSE_CODE, &status);
    if (status != 200)
        return base::fail(fmt::format("{}: no time stamp: the server answers {}", address, status));
    return answer;
}

} // namespace

bool is_web_address(const std::string& text) {
    return text.starts_with("http://") || text.starts_with("https://");
}

base::Result<signing::Signer::AskAuthority> time_stamp_client(const std::string& address) {
    const Library library = TRY(load_library());
    return [library, address](std::span<const uint8_t> query) { return post(library, address, query); };
}

} // namespace player
