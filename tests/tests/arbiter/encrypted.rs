//! An etcd that asks who is there: TLS with certificates on both sides, user and password.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use etcd_client::{
    Certificate, Client, ConnectOptions, Identity, Permission, PermissionType, TlsOptions,
};
use ogha_tests::lab::{Etcd, Host, etcd::Certificates};

use crate::{
    etcd::keys,
    node::{Node, Stage, eventually, granted, unknown},
};

struct Secrets {
    certificates: Certificates,
    directory: PathBuf,
}

impl Secrets {
    fn make(stage: &Stage) -> Self {
        let directory = stage.lab.directory().to_owned();
        let addresses: Vec<_> = stage.others.iter().map(|host| host.address()).collect();
        let certificates = Certificates::make(&directory, "ogha", &addresses).unwrap();
        Self { certificates, directory }
    }

    fn password(&self, name: &str, text: &str) -> PathBuf {
        let file = self.directory.join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        file
    }

    /// The keys of TLS, with or without the agent's own certificate.
    fn keys(&self, etcd: &Etcd, own: bool) -> String {
        let (ca, cert, key) =
            (self.certificates.ca(), self.certificates.cert(), self.certificates.key());
        let start = format!("{}\nca_file = {ca:?}", keys(&etcd.endpoints()));
        if own { format!("{start}\ncert_file = {cert:?}\nkey_file = {key:?}") } else { start }
    }
}

/// Gives etcd a user `ogha` that may do what the page says it must, and asks everybody for a name.
fn ask_for_names(host: &Host, endpoint: &str, certificates: &Certificates) {
    let read = |file| fs::read(file).unwrap();
    let tls = TlsOptions::new()
        .ca_certificate(Certificate::from_pem(read(certificates.ca())))
        .identity(Identity::from_pem(read(certificates.cert()), read(certificates.key())));
    host.namespace().enter(|| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap().block_on(async {
            let options = ConnectOptions::new().with_tls(tls);
            let mut client = Client::connect([endpoint], Some(options)).await.unwrap();
            client.user_add("root", "of all", None).await.unwrap();
            client.user_grant_role("root", "root").await.unwrap();
            client.user_add("ogha", "secret", None).await.unwrap();
            client.role_add("ogha").await.unwrap();
            let prefix = Permission::new(PermissionType::Readwrite, "/ogha/");
            let prefix = prefix.with_prefix();
            client.role_grant_permission("ogha", prefix).await.unwrap();
            client.user_grant_role("ogha", "ogha").await.unwrap();
            client.auth_enable().await.unwrap();
        });
    });
}

/// A client without a certificate that the members trust is not let in, nor is a member believed
/// whose certificate somebody else has signed.
#[test]
fn each_side_proves_who_it_is() {
    let stage = Stage::set("arbiter-tls", 1);
    let secrets = Secrets::make(&stage);
    let etcd = Etcd::start_encrypted(&stage.others, secrets.certificates.clone()).unwrap();
    let node = Node::open(&stage.a, &secrets.keys(&etcd, true));
    assert_eq!(node.stand(1), granted(1));
    let nameless = Node::open(&stage.b, &secrets.keys(&etcd, false));
    assert_eq!(nameless.stand(2), unknown(2));
    let elsewhere = stage.lab.directory().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let other = Certificates::make(&elsewhere, "ogha", &[]).unwrap();
    let distrusting = secrets.keys(&etcd, true);
    let (ours, theirs) = (format!("{:?}", secrets.certificates.ca()), format!("{:?}", other.ca()));
    let distrusting = Node::open(&stage.b, &distrusting.replace(&ours, &theirs));
    assert_eq!(distrusting.stand(2), unknown(2));
    let error = format!("{:#}", distrusting.consult().unwrap_err());
    assert!(error.contains("certificate"), "{error}");
    assert_eq!(node.stand(2), granted(2));
    // A private key that belongs to another certificate is found before anything is sent.
    let text = secrets.keys(&etcd, true);
    let (ours, theirs) =
        (format!("{:?}", secrets.certificates.key()), format!("{:?}", other.key()));
    let error = Node::try_open(&stage.b, &text.replace(&ours, &theirs)).err().unwrap();
    assert!(format!("{error:#}").contains("do not fit each other"), "{error:#}");
}

/// The user's name is asked for; an etcd that was restarted has forgotten whom it had let in.
#[test]
fn a_user_is_let_in_by_its_password() {
    let stage = Stage::set("arbiter-user", 1);
    let secrets = Secrets::make(&stage);
    let mut etcd = Etcd::start_encrypted(&stage.others, secrets.certificates.clone()).unwrap();
    ask_for_names(&stage.others[0], &etcd.endpoints()[0], &secrets.certificates);
    let with = |file: PathBuf, prefix: &str| {
        let keys = secrets.keys(&etcd, true);
        format!("{keys}\nusername = \"ogha\"\npassword_file = {file:?}\nprefix = {prefix:?}")
    };
    let right = with(secrets.password("right", "secret\n"), "/ogha/");
    let wrong = with(secrets.password("wrong", "guess"), "/ogha/");
    let forbidden = with(secrets.password("right", "secret"), "/others/");
    let node = Node::open(&stage.a, &right);
    // To look at a password takes etcd its time.
    eventually(granted(1), || node.stand(1));
    assert_eq!(node.stand(2), granted(2));
    let stranger = Node::open(&stage.b, &wrong);
    assert_eq!(stranger.stand(3), unknown(3));
    let why = |node: &Node| format!("{:#}", node.consult().unwrap_err());
    eventually(true, || why(&stranger).contains("authentication failed"));
    let trespasser = Node::open(&stage.b, &forbidden);
    eventually(true, || why(&trespasser).contains("permission denied"));
    etcd.kill(0).unwrap();
    etcd.launch(0).unwrap();
    eventually(granted(3), || node.stand(3));
}
