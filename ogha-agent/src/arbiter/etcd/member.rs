//! One endpoint, and the connection to it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, Error, KeyValue, ResponseHeader, Txn, TxnOp,
    TxnOpResponse,
};

use anyhow::Context as _;
use tokio::{sync::Mutex as AsyncMutex, time::timeout};

use super::credentials::Credentials;

/// How long a connection may take to be made. Members are a LAN away.
const CONNECT: Duration = Duration::from_millis(200);
/// Pings while a question waits; etcd shuts out who pings an idle connection oftener than every 5 s.
const PING: Duration = Duration::from_secs(1);
const PONG: Duration = Duration::from_millis(500);

/// How long a member may take to look at a password.
const INTRODUCTION: Duration = Duration::from_secs(5);

/// gRPC's INVALID_ARGUMENT (etcd: no user was named, or the token is of before a change of the
/// users), PERMISSION_DENIED and UNAUTHENTICATED.
const NOT_LET_IN: [i32; 3] = [3, 7, 16];

/// What a member says of the key.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Whether the record that was to be written is written.
    pub written: bool,
    /// The cluster that the member belongs to.
    pub cluster: u64,
    /// The revision of the key's last change; 0 where there is no such key.
    pub revision: i64,
    /// What stands there, unless it was just written.
    pub value: Option<Vec<u8>>,
}

/// An endpoint. All that can be asked of it may be asked again: a change names the revision that
/// it follows, so it happens once at most.
pub struct Member {
    /// The URL.
    pub endpoint: String,
    options: ConnectOptions,
    login: Option<(String, String)>,
    client: Mutex<Option<Client>>,
    answered: AtomicBool,
    /// Whether the member knows who asks. Held by who is just telling it.
    known: Arc<AsyncMutex<bool>>,
}

impl Member {
    pub fn new(endpoint: &str, credentials: &Credentials) -> Self {
        let options = ConnectOptions::new()
            .with_connect_timeout(CONNECT)
            .with_keep_alive(PING, PONG)
            .with_keep_alive_while_idle(false)
            .with_require_leader(true);
        Self {
            endpoint: endpoint.to_owned(),
            options: credentials.apply(options),
            login: credentials.login(),
            client: Mutex::new(None),
            answered: AtomicBool::new(false),
            known: Arc::new(AsyncMutex::new(false)),
        }
    }

    /// Prepares a connection, which is made when it is first needed.
    pub async fn prepare(&self) -> anyhow::Result<Client> {
        if let Some(client) = self.held() {
            return Ok(client);
        }
        // Nothing travels yet, for the options hold no user.
        let client = Client::connect([&self.endpoint], Some(self.options.clone())).await;
        let client = client.map_err(tell)?;
        let mut held = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(held.get_or_insert(client).clone())
    }

    /// Whether it has ever answered: then its cluster has been noted.
    pub fn has_answered(&self) -> bool {
        self.answered.load(Ordering::SeqCst)
    }

    fn held(&self) -> Option<Client> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The next question goes over a new connection; those under way keep theirs. Who asks stays
    /// known.
    pub async fn renew(&self) {
        let Some(client) = self.held() else { return };
        let removed = client.remove_endpoint(&self.endpoint).await;
        if removed.is_err() || client.add_endpoint(&self.endpoint).await.is_err() {
            *self.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
            *self.known.lock().await = false;
        }
    }

    async fn client(&self) -> anyhow::Result<Client> {
        let client = self.prepare().await?;
        let Some(login) = self.login.clone() else { return Ok(client) };
        let mut known = Arc::clone(&self.known).lock_owned().await;
        if *known {
            return Ok(client);
        }
        // A password costs etcd a tenth of a second on purpose. So it is told once, to the end, also
        // when who asked waits no longer.
        let mut told = client.clone();
        let tell_it = async move {
            let told = timeout(INTRODUCTION, told.update_user(Some(login))).await;
            told.context("the password was not answered")?.map_err(tell)?;
            *known = true;
            Ok::<_, anyhow::Error>(())
        };
        tokio::spawn(tell_it).await.context("the agent is ending")??;
        Ok(client)
    }

    /// Whoever is not let in says the next time who it is: a member that was restarted, and one whose
    /// users were changed, has forgotten.
    fn heed<T>(&self, answer: Result<T, Error>) -> anyhow::Result<T> {
        if let Err(Error::GRpcStatus(status)) = &answer
            && NOT_LET_IN.contains(&i32::from(status.code()))
        {
            // Where it is held, somebody is just telling.
            if let Ok(mut known) = self.known.try_lock() {
                *known = false;
            }
        }
        self.answered.fetch_or(answer.is_ok(), Ordering::SeqCst);
        answer.map_err(tell)
    }

    /// Reads the key, as of now: a member that does not know asks the leader.
    pub async fn read(&self, key: &str) -> anyhow::Result<Seen> {
        let mut client = self.client().await?;
        let mut answer = self.heed(client.get(key, None).await)?;
        let cluster = cluster(answer.header());
        Ok(Seen::of(cluster, answer.take_kvs().into_iter().next()))
    }

    /// Writes the key if its last change is `revision`; else reads it. One round trip, both in one.
    pub async fn write(&self, key: &str, revision: i64, value: String) -> anyhow::Result<Seen> {
        let mut client = self.client().await?;
        let change = Txn::new()
            .when([Compare::mod_revision(key, CompareOp::Equal, revision)])
            .and_then([TxnOp::put(key, value, None)])
            .or_else([TxnOp::get(key, None)]);
        let answer = self.heed(client.txn(change).await)?;
        let cluster = cluster(answer.header());
        if answer.succeeded() {
            let revision = answer.header().map_or(0, ResponseHeader::revision);
            return Ok(Seen { written: true, cluster, revision, value: None });
        }
        let found = answer.op_responses().into_iter().find_map(|response| match response {
            TxnOpResponse::Get(mut got) => got.take_kvs().into_iter().next(),
            _ => None,
        });
        Ok(Seen::of(cluster, found))
    }
}

impl Seen {
    fn of(cluster: u64, found: Option<KeyValue>) -> Self {
        let revision = found.as_ref().map_or(0, KeyValue::mod_revision);
        Self { written: false, cluster, revision, value: found.map(|kv| kv.value().to_vec()) }
    }
}

fn cluster(header: Option<&ResponseHeader>) -> u64 {
    header.map_or(0, ResponseHeader::cluster_id)
}

/// The words of an error that say something: those of etcd, or of what is below the transport.
fn tell(error: Error) -> anyhow::Error {
    let Error::GRpcStatus(status) = &error else { return error.into() };
    let mut said = status.message().to_owned();
    let mut below = std::error::Error::source(status);
    while let Some(cause) = below {
        said = cause.to_string();
        below = cause.source();
    }
    anyhow::Error::msg(said)
}
