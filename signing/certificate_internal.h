// OpenSSL-typed certificate helpers shared by the sources of this folder.
#pragma once
#include "signing/certificate.h"
#include "signing/openssl_ptr.h"

namespace signing {

base::Result<Publisher> publisher_of(const X509* certificate);
base::Result<CertificatePtr> read_certificate_pem(std::string_view pem, const std::string& where);

} // namespace signing
