//! TLS toward the broker: rustls with the ring provider, named here so that no process-wide default is needed.

use connector::{SettingsError, TlsSettings};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;

/// Reads the files that the settings name.
pub(crate) fn client(settings: &TlsSettings) -> Result<Arc<ClientConfig>, SettingsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| SettingsError::at("tls", format!("TLS cannot be set up: {e}")))?
        .with_root_certificates(roots(settings)?);
    let config = match (&settings.cert_file, &settings.key_file) {
        (None, None) => config.with_no_client_auth(),
        (Some(_), None) => {
            return Err(SettingsError::at("tls.cert_file", "cert_file needs key_file, the key of that certificate"));
        }
        (None, Some(_)) => {
            return Err(SettingsError::at("tls.key_file", "key_file needs cert_file, the certificate of that key"));
        }
        (Some(cert), Some(key)) => {
            let chain = certificates(cert, "tls.cert_file")?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|e| {
                SettingsError::at(
                    "tls.key_file",
                    format!("no private key in PEM could be read from {}: {e}", key.display()),
                )
            })?;
            config.with_client_auth_cert(chain, key).map_err(|e| {
                SettingsError::at("tls.cert_file", format!("the certificate and its key do not work together: {e}"))
            })?
        }
    };
    Ok(Arc::new(config))
}

fn roots(settings: &TlsSettings) -> Result<RootCertStore, SettingsError> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = &settings.ca_file {
        for certificate in certificates(file, "tls.ca_file")? {
            roots.add(certificate).map_err(|e| {
                SettingsError::at("tls.ca_file", format!("a certificate in {} cannot be used: {e}", file.display()))
            })?;
        }
    } else {
        // The system's store may hold certificates that rustls does not take: those are left out.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(SettingsError::at("tls", "this system has no certificates to trust: set ca_file"));
        }
    }
    Ok(roots)
}

fn certificates(file: &Path, key: &str) -> Result<Vec<CertificateDer<'static>>, SettingsError> {
    let unreadable = |e: &dyn std::fmt::Display| {
        SettingsError::at(key, format!("no certificates in PEM could be read from {}: {e}", file.display()))
    };
    let found = CertificateDer::pem_file_iter(file)
        .map_err(|e| unreadable(&e))?
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| unreadable(&e))?;
    if found.is_empty() { Err(unreadable(&"the file holds none")) } else { Ok(found) }
}
