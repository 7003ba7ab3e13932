use super::protocol::{Request, Response};
use anyhow::Context as _;
use std::{future::Future, path::Path};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixListener,
};
pub struct Server(std::os::unix::net::UnixListener);
impl Server {
    pub fn bind(run_dir: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(run_dir)?;
        let path = run_dir.join("agent.sock");
        let _ = std::fs::remove_file(&path);
        let l = std::os::unix::net::UnixListener::bind(&path).context("bind")?;
        l.set_nonblocking(true)?;
        Ok(Self(l))
    }
    pub async fn serve<F, Fut>(self, handler: F)
    where
        F: Fn(Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Response> + Send,
    {
        let Ok(l) = UnixListener::from_std(self.0) else { return };
        loop {
            let Ok((mut s, _)) = l.accept().await else { continue };
            let mut line = String::new();
            let (r, mut w) = s.split();
            if BufReader::new(r).read_line(&mut line).await.is_ok()
                && let Ok(q) = serde_json::from_str::<Request>(&line)
            {
                let a = handler(q).await;
                let _ = w
                    .write_all(
                        format!("{}\n", serde_json::to_string(&a).unwrap_or_default()).as_bytes(),
                    )
                    .await;
            }
        }
    }
}
