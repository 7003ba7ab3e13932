//! Certificates that nobody else trusts.

use std::{
    fs::{self, Permissions},
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// An authority, and a certificate of it with its private key, in a directory. The certificate is
/// good for servers at its addresses, and for clients.
#[derive(Clone, Debug)]
pub struct Certificates {
    directory: PathBuf,
}

impl Certificates {
    /// Makes them in an existing directory.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn make(directory: &Path, name: &str, addresses: &[Ipv4Addr]) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "the lab's authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca = params.self_signed(&key)?;
        let issuer = Issuer::new(params, key);

        let names: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &issuer)?;

        let made = Self { directory: directory.to_owned() };
        fs::write(made.ca(), ca.pem())?;
        fs::write(made.cert(), cert.pem())?;
        fs::write(made.key(), key.serialize_pem())?;
        fs::set_permissions(made.key(), Permissions::from_mode(0o600))?;
        Ok(made)
    }

    /// The authority's own certificate.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// The certificate.
    #[must_use]
    pub fn cert(&self) -> PathBuf {
        self.directory.join("cert.pem")
    }

    /// Its private key, readable by its owner only.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.directory.join("key.pem")
    }
}
