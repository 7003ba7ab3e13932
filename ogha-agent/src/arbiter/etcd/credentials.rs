//! The files that prove who the agent is to etcd, and who etcd is to the agent.

use std::{fs, path::Path};

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};

use crate::{config, secret};

/// More than any of the files has, in octets.
const LONGEST: u64 = 1 << 20;

/// A file that is missing or bad.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The key that names it, below `instance`.
    pub key: &'static str,
    /// What is wrong; what to do.
    pub what: String,
}

/// What the files hold.
#[derive(Clone)]
pub struct Credentials {
    tls: Option<TlsOptions>,
    login: Option<(String, String)>,
}

impl Credentials {
    /// Reads the files.
    ///
    /// # Errors
    /// The first that is missing, that others may read though it is secret, or that does not hold
    /// what it should.
    pub fn load(config: &config::Etcd) -> Result<Self, Flaw> {
        let tls = config.tls.as_ref().map(tls).transpose()?;
        let login = config.login.as_ref().map(login).transpose()?;
        Ok(Self { tls, login })
    }

    /// User and password.
    #[must_use]
    pub fn login(&self) -> Option<(String, String)> {
        self.login.clone()
    }

    /// Adds what a connection needs.
    #[must_use]
    pub fn apply(&self, options: ConnectOptions) -> ConnectOptions {
        match &self.tls {
            Some(tls) => options.with_tls(tls.clone()),
            None => options,
        }
    }
}

fn tls(config: &config::Tls) -> Result<TlsOptions, Flaw> {
    let options = TlsOptions::new()
        .ca_certificate(Certificate::from_pem(certificates("arbiter.ca_file", &config.ca_file)?));
    let Some((cert_file, key_file)) = &config.identity else { return Ok(options) };
    let cert = certificates("arbiter.cert_file", cert_file)?;
    let flaw = |what| Flaw { key: "arbiter.key_file", what };
    let key = secret::read("the private key", key_file, LONGEST, "copy the one of cert_file")
        .map_err(|error| flaw(format!("{error:#}")))?;
    if !holds(&key, "PRIVATE KEY-----") {
        let shown = key_file.display();
        return Err(flaw(format!(
            "{shown} holds no private key in PEM; name the one of cert_file"
        )));
    }
    Ok(options.identity(Identity::from_pem(cert, key)))
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<u8>, Flaw> {
    let shown = path.display();
    let bytes = fs::read(path)
        .map_err(|error| Flaw { key, what: format!("cannot read {shown}: {error}; copy it") })?;
    if !holds(&bytes, "-----BEGIN CERTIFICATE-----") {
        let what = format!("{shown} holds no certificate in PEM; convert it with `openssl x509`");
        return Err(Flaw { key, what });
    }
    Ok(bytes)
}

fn holds(bytes: &[u8], part: &str) -> bool {
    bytes.windows(part.len()).any(|window| window == part.as_bytes())
}

/// A password is the file without the end of its line.
fn login(config: &config::Login) -> Result<(String, String), Flaw> {
    let flaw = |what| Flaw { key: "arbiter.password_file", what };
    let path = &config.password_file;
    let remedy = "write the password of `username` into it, and nothing else";
    let bytes = secret::read("the password", path, LONGEST, remedy)
        .map_err(|error| flaw(format!("{error:#}")))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| flaw(format!("the password {} is not UTF-8; {remedy}", path.display())))?;
    let password = text.trim_end_matches(['\n', '\r']);
    if password.is_empty() || password.contains(['\n', '\r']) {
        return Err(flaw(format!("the password {} is not one line; {remedy}", path.display())));
    }
    Ok((config.username.clone(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt as _, path::PathBuf};

    use tempfile::TempDir;

    use super::*;

    const PEM: &str = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n";

    struct Files(TempDir);

    impl Files {
        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn write(&self, name: &str, text: &str, mode: u32) {
            fs::write(self.path(name), text).unwrap();
            fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
        }

        fn flaw(&self) -> (&'static str, String) {
            let config = config::Etcd {
                endpoints: vec!["https://10.0.0.1:2379".to_owned()],
                tls: Some(config::Tls {
                    ca_file: self.path("ca"),
                    identity: Some((self.path("cert"), self.path("key"))),
                }),
                login: Some(config::Login {
                    username: "ogha".to_owned(),
                    password_file: self.path("password"),
                }),
                prefix: "/ogha/".to_owned(),
            };
            match Credentials::load(&config) {
                Ok(credentials) => {
                    let (user, password) = credentials.login().unwrap();
                    ("", format!("{user}:{password}"))
                }
                Err(flaw) => (flaw.key, flaw.what),
            }
        }
    }

    #[test]
    fn each_file_is_named_with_its_key_when_it_is_missing_or_bad() {
        let files = Files(tempfile::tempdir().unwrap());
        let good = [
            ("ca", "arbiter.ca_file", PEM, 0o644),
            ("cert", "arbiter.cert_file", PEM, 0o644),
            ("key", "arbiter.key_file", KEY, 0o600),
            ("password", "arbiter.password_file", "secret\n", 0o600),
        ];
        for (name, key, text, mode) in good {
            let (named, what) = files.flaw();
            assert_eq!(named, key);
            assert!(what.contains(&files.path(name).display().to_string()), "{what}");
            files.write(name, "\nof another kind\n", mode);
            let (named, what) = files.flaw();
            assert_eq!(named, key, "{what}");
            if mode == 0o600 {
                files.write(name, text, 0o640);
                let (named, what) = files.flaw();
                assert_eq!(named, key);
                assert!(what.contains("chmod 600"), "{what}");
            }
            files.write(name, text, mode);
        }
        assert_eq!(files.flaw(), ("", "ogha:secret".to_owned()));
    }
}
