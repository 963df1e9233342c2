//! Reload: load, compare, apply what changed and nothing else.
//!
//! Invariants: a bad file changes nothing; what cannot change while the node runs stays as it is
//! in the file in force, so that the next reload names it again.

use std::collections::{BTreeMap, BTreeSet};

use stadium_config as config;
use stadium_config::{FieldChange, Mtu, PeerFile, What};
use stadium_proto::engine::{Change, Input};

use crate::api::{Effect, Kind, Refusal, ReloadChange, ReloadReport};
use crate::control::Control;
use crate::settings;
use crate::system::{Plan, SystemError};

impl Control {
    /// Reloads for a SIGHUP: the log hears what a caller would.
    pub(crate) async fn reload_on_signal(&mut self) {
        match self.reload(false).await {
            Ok(report) if report.changes.is_empty() => {
                tracing::info!("SIGHUP: nothing changed in the peer file");
            }
            Ok(_) => {}
            Err(refusal) => {
                for line in refusal.message.lines() {
                    tracing::error!("{line}");
                }
                tracing::error!("SIGHUP: the peer file is not applied; nothing has changed");
            }
        }
    }

    /// Loads the peer file again and applies what changed, or only says what that would be.
    ///
    /// # Errors
    /// The refusal to answer with; nothing has changed then.
    pub(crate) async fn reload(&mut self, dry_run: bool) -> Result<ReloadReport, Refusal> {
        let invalid = |text: String| Refusal::new(Kind::InvalidFile, text);
        let loaded = config::load_again(&self.file).map_err(|e| invalid(e.to_string()))?;
        let mut warnings: Vec<String> =
            loaded.warnings.to_string().lines().map(str::to_owned).collect();
        warnings.extend(settings::warnings(&loaded.file));
        let changes: Vec<ReloadChange> =
            config::diff(&self.file, &loaded.file).iter().flat_map(report).collect();
        let mut in_force = loaded.file;
        keep_what_needs_a_restart(&self.file, &mut in_force);
        let next = self.next_plan(&in_force).await?;
        warnings.extend(next.plan.warnings.iter().cloned());
        if !dry_run && !changes.is_empty() {
            self.apply(in_force, next).await?;
            self.publish_reload(changes.len());
            for change in &changes {
                tracing::info!("reload: {} ({})", change.what, change.effect);
            }
        }
        Ok(ReloadReport { applied: !dry_run, changes, warnings })
    }

    /// Makes the plan of a changed file.
    async fn next_plan(&self, file: &PeerFile) -> Result<Next, Refusal> {
        let failed = |error: SystemError| {
            Refusal::new(Kind::Failed, format!("{error}; nothing has changed"))
        };
        let known: Vec<_> = self.known_endpoints(file);
        let mtu = match file.interface.mtu {
            Mtu::Fixed(mtu) => mtu.into(),
            // what was found at the start goes on to hold, unless it is asked for anew
            Mtu::Auto if self.file.interface.mtu == Mtu::Auto => self.mtu,
            Mtu::Auto => {
                let endpoints: Vec<_> = known.iter().copied().map(Some).collect();
                self.system.auto_mtu(&endpoints, self.applied.plan().fwmark).await
            }
        };
        let facts = self.system.facts().await.map_err(failed)?;
        let running = self.applied.plan();
        let spec = settings::interface_spec(file, mtu, running.link.index, known);
        let plan = Plan::new(&spec, &facts, Some(running)).map_err(failed)?;
        Ok(Next { plan, mtu })
    }

    /// Applies a file whose plan is made.
    async fn apply(&mut self, file: PeerFile, next: Next) -> Result<(), Refusal> {
        let failed =
            |error: String| Refusal::new(Kind::Failed, format!("{error}; nothing has changed"));
        let Next { plan, mtu } = next;
        let mark = plan.fwmark.unwrap_or(0);
        let old_mark = self.applied.plan().fwmark.unwrap_or(0);
        if mark != 0 && mark != old_mark {
            // before the rules stand that need it
            let set = self.mark(mark).await;
            set.map_err(|error| failed(format!("cannot mark own datagrams {mark:#x}: {error}")))?;
        }
        let done = self.system.reconcile(&mut self.applied, plan, &mut self.state).await;
        let done = match done {
            Ok(done) => done,
            Err(error) => {
                if mark != old_mark {
                    let _ = self.mark(old_mark).await;
                }
                return Err(failed(error.to_string()));
            }
        };
        if mark == 0
            && old_mark != 0
            && let Err(error) = self.mark(0).await
        {
            tracing::warn!("own datagrams keep their mark {old_mark:#x}: {error}");
        }
        for operation in &done {
            tracing::debug!("reload: {}", operation.summary());
        }
        if mtu != self.mtu {
            self.restart_path_search();
        }
        self.mtu = mtu;
        self.apply_to_engine(file);
        Ok(())
    }

    /// Changes the firewall mark of all sockets; 0 is none.
    async fn mark(&mut self, mark: u32) -> Result<(), SystemError> {
        match self.system.helper() {
            Some(helper) => helper.mark(&self.outbox.bound.descriptors(), mark).await,
            None => self
                .outbox
                .bound
                .set_fwmark(mark)
                .map_err(|error| SystemError::from_io("mark the sockets", &error)),
        }
    }

    /// Tells the engine what differs in `file`, which is in force from then on.
    fn apply_to_engine(&mut self, file: PeerFile) {
        let timers = self.engine.settings().timers;
        let partial_checksum = self.engine.settings().partial_checksum;
        let settings =
            settings::engine(&file, self.mtu, self.worker_count, partial_checksum, timers);
        let old = std::mem::replace(&mut self.file, file);
        let agreed = |file: &PeerFile| (file.post_quantum, file.ciphers.list().to_vec());
        let renew = agreed(&old) != agreed(&self.file);
        let mut changes = vec![Change::Settings(Box::new(settings))];
        // maps, since looking at all peers for each of them takes minutes with 100,000
        let stays: BTreeSet<_> = self.file.peers.iter().map(|peer| peer.public_key).collect();
        let removed: Vec<_> = old
            .peers
            .iter()
            .map(|peer| peer.public_key)
            .filter(|key| !stays.contains(key))
            .collect();
        let removed: Vec<_> =
            removed.iter().filter_map(|key| self.engine.peer_by_key(key)).collect();
        for id in removed {
            changes.push(Change::Remove(id));
            self.forget(id);
        }
        let before: BTreeMap<_, _> = old.peers.iter().map(|peer| (peer.public_key, peer)).collect();
        for peer in &self.file.peers {
            match self.engine.peer_by_key(&peer.public_key) {
                None => changes.push(Change::Add(Box::new(settings::peer(peer)))),
                Some(id) if before.get(&peer.public_key) != Some(&peer) => {
                    changes.push(Change::Update(id, Box::new(settings::peer(peer))));
                }
                Some(_) => {}
            }
        }
        let now = self.clock.now();
        for result in self.engine.apply(now, changes, &mut self.outbox) {
            if let Err(error) = result {
                tracing::error!("reload: a peer is left as it was: {error}");
            }
        }
        self.note_peers();
        self.configure_noise();
        if renew {
            // what was agreed by the old settings gives way
            self.handle(Input::NetworkChanged);
        }
    }
}

/// What a changed file amounts to.
struct Next {
    plan: Plan,
    mtu: u32,
}

/// Turns a change into lines of the report: one a key.
fn report(change: &config::Change) -> Vec<ReloadChange> {
    let line = |what: String, effect| ReloadChange { what, effect };
    let shown = |field: &FieldChange| format!("{}: {} → {}", field.key, field.old, field.new);
    match &change.what {
        What::Setting(field) => vec![line(shown(field), setting_effect(field))],
        What::PeerAdded { label, .. } => {
            vec![line(format!("peer {label}: added"), effect(change.effect))]
        }
        What::PeerRemoved { label, .. } => {
            vec![line(format!("peer {label}: removed"), effect(change.effect))]
        }
        What::PeerChanged { label, fields, .. } => fields
            .iter()
            .map(|field| line(format!("peer {label}: {}", shown(field)), effect(field.effect)))
            .collect(),
    }
}

/// Says what a changed setting takes in this version.
fn setting_effect(field: &FieldChange) -> Effect {
    match field.key.as_str() {
        // both are built into what runs
        "interface.network_key" | "interface.copy_dscp" => Effect::Restart,
        _ => effect(field.effect),
    }
}

fn effect(effect: config::Effect) -> Effect {
    match effect {
        config::Effect::Live => Effect::Live,
        config::Effect::Rehandshake => Effect::Rehandshake,
        config::Effect::Restart => Effect::Restart,
    }
}

/// Puts back into `new` what only a restart changes.
fn keep_what_needs_a_restart(old: &PeerFile, new: &mut PeerFile) {
    let (old_interface, interface) = (&old.interface, &mut new.interface);
    interface.name = old_interface.name.clone();
    interface.private_key = old_interface.private_key.clone();
    interface.listen = old_interface.listen.clone();
    interface.fwmark = old_interface.fwmark;
    interface.workers = old_interface.workers;
    interface.offload = old_interface.offload;
    interface.network_key = old_interface.network_key.clone();
    interface.copy_dscp = old_interface.copy_dscp;
    interface.hooks = old_interface.hooks.clone();
    new.control = old.control.clone();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn parse(more: &str) -> PeerFile {
        let key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
        let text = format!("interface:\n  private_key: {key}\n{more}");
        let environment = config::Environment::default();
        let loaded = config::parse(&text, Path::new("/tmp/stadium7.yaml"), &environment);
        loaded.unwrap_or_else(|error| panic!("{error}")).file
    }

    #[test]
    fn every_change_that_needs_a_restart_is_named_until_there_is_one() {
        let old = parse("  listen: 7\n");
        let mut new = parse(
            "  listen: 8\n  name: other\n  workers: 3\n  offload: off\n  fwmark: 9\n  \
             copy_dscp: true\n  mtu: 1300\ncontrol: {socket: /tmp/x.sock}\n",
        );
        let lines: Vec<ReloadChange> = config::diff(&old, &new).iter().flat_map(report).collect();
        let restarts = lines.iter().filter(|line| line.effect == Effect::Restart).count();
        assert_eq!((lines.len(), restarts), (8, 7), "{lines:?}");
        keep_what_needs_a_restart(&old, &mut new);
        let left: Vec<ReloadChange> = config::diff(&old, &new).iter().flat_map(report).collect();
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(left[0].what, "interface.mtu: auto → 1300");
        assert_eq!(left[0].effect, Effect::Live);
    }
}
