//! Operators' orders: the instance that one is about, the core's word, and a refusal that says what
//! to do instead.

use ogha_common::{
    failover::{Command, Loss, Refusal},
    units::NodeId,
};
use tracing::info;

use super::{history::History, hosted::Hosted, instance::Instance};
use crate::{
    control::{
        order::{About, Accepted, Switchover},
        protocol::{Request, Response},
    },
    kernel::Kernel,
};

/// Carries out an order, or says why not.
pub fn carry_out(
    order: Request,
    node: &str,
    hosted: &mut [Hosted],
    kernel: &mut Kernel,
    history: &mut History,
) -> Response {
    match accept(&order, hosted, kernel, history) {
        Ok(accepted) => {
            info!(instance = accepted.instance, ?order, "an operator command was accepted");
            Response::Accepted(Accepted { node: node.to_owned(), ..accepted })
        }
        Err(why) => Response::Error(why),
    }
}

fn accept(
    order: &Request,
    hosted: &mut [Hosted],
    kernel: &mut Kernel,
    history: &mut History,
) -> Result<Accepted, String> {
    let about = match order {
        Request::Switchover(Switchover { instance, .. })
        | Request::Force(About { instance })
        | Request::Pause(About { instance })
        | Request::Resume(About { instance })
        | Request::Rejoin(About { instance }) => instance.as_deref(),
        Request::Status | Request::History | Request::Reload => {
            return Err("that is no order".to_owned());
        }
    };
    let seat = match choose(hosted, about)? {
        Hosted::Database(seat) => seat,
        Hosted::Router(router) => return Err(router.refusal()),
    };
    let command = match order {
        Request::Switchover(Switchover { to, .. }) => {
            Command::Switchover { to: to.as_deref().map(NodeId::of) }
        }
        Request::Force(_) => Command::Force,
        Request::Pause(_) => Command::Pause,
        Request::Resume(_) => Command::Resume,
        _ => Command::Rejoin,
    };
    let (instance, mut host) = seat.ports(kernel, history);
    let loses = (command == Command::Force).then(|| loss(instance));
    let done = instance.command(command, &mut host);
    done.map_err(|refusal| words(instance, command, refusal))?;
    let to = instance.core().switching_to().map(|node| instance.name_of(node));
    Ok(Accepted { node: String::new(), instance: instance.config.name.clone(), to, loses })
}

/// The instance of that name; without one, the only one.
fn choose<'a>(hosted: &'a mut [Hosted], name: Option<&str>) -> Result<&'a mut Hosted, String> {
    let names: Vec<_> = hosted.iter().map(|one| one.name().to_owned()).collect();
    let names = names.join(", ");
    let found = match (name, hosted.len()) {
        (None, 1) => hosted.first_mut(),
        (None, _) => {
            return Err(format!("there are several instances; name one by --instance: {names}"));
        }
        (Some(name), _) => hosted.iter_mut().find(|one| one.name() == name),
    };
    found.ok_or_else(|| {
        format!("there is no instance {:?} here, only {names}", name.unwrap_or_default())
    })
}

/// What a forced failover to this node may lose, with the old primary's name.
fn loss(instance: &Instance) -> String {
    let loss = instance.core().loss_if_forced();
    match instance.core().record().filter(|_| loss != Loss::Nothing) {
        Some(record) => {
            format!("{loss}; the old primary is {}", instance.name_of(record.primary))
        }
        None => loss.to_string(),
    }
}

/// The node from which the database here receives WAL.
fn upstream(instance: &Instance) -> &str {
    let upstream = instance.seen.upstream.as_ref();
    upstream.map_or("another node", |up| up.peer.as_deref().unwrap_or(&up.host))
}

/// With the names of nodes, and what to do instead.
fn words(instance: &Instance, command: Command, refusal: Refusal) -> String {
    let name = |node| instance.name_of(node);
    match refusal {
        Refusal::Serves(node) => match command {
            Command::Switchover { .. } => {
                format!("{0} serves, not this node: order it at {0}", name(node))
            }
            _ => format!("{} serves: there is nothing to force", name(node)),
        },
        Refusal::NotInSync(node) => format!(
            "{} is not in sync: acknowledged writes would be lost. `ogha-agent status` tells who is",
            name(node)
        ),
        Refusal::NotReady(node) => {
            format!("{} is unreachable, or its database is no standby", name(node))
        }
        Refusal::PrimaryLives => format!(
            "the database here streams from the primary at {0}, which lives: to promote it would make \
             two primaries. Start the agent at {0}, or stop the database there first",
            upstream(instance)
        ),
        Refusal::PrimaryAt(node) => format!(
            "the database at {0} is a primary, and its agent runs: `ogha-agent status` at {0} tells \
             what it waits for",
            name(node)
        ),
        Refusal::PausedAt(node) => {
            format!("resumed here, but {0} has paused too: order `resume` at {0}", name(node))
        }
        Refusal::UnknownNode => {
            let names: Vec<_> = instance.peers.list.iter().map(|peer| peer.name.as_str()).collect();
            format!("{refusal}: there is {}", names.join(", "))
        }
        other => other.to_string(),
    }
}
