//! A campaign against the log as the database's superuser, with all triggers off: whatever is changed of it up to the
//! checkpoint that an auditor remembers is told by exporting and verifying, and a log that nobody touched never is.
//!
//! Each change is made in a transaction that is rolled back, and exported in it by the control plane's own code.

mod changes;

use std::collections::BTreeMap;

use aegis_control_plane::seal::MasterKey;
use aegis_control_plane::service::entries::Filter;
use aegis_control_plane::service::export::{Export, Form, Wanted};
use aegis_control_plane::service::log::{Log, LogSigners};
use aegis_evidence::bundle::{Fault, Report, Verifier};
use aegis_evidence::{Head, LogKeys, SignerKey};
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};

use self::changes::{Change, Touched};
use super::stored::StoredLog;
use super::{WITHIN, settled};
use crate::actions::scene::answered;
use crate::chance::Chance;

/// Entries of the log: two tiles, and a part of a third.
const ENTRIES: usize = 560;
/// Changes in the suite, and in the long run.
const CHANGES: u32 = 150;
const CHANGES_LONG: u32 = 10_000;
/// The untouched log is verified once in so many changes.
const CONTROL_EVERY: u32 = 20;
/// The log that is attacked, its key, and what the auditor has.
struct Target {
    conn: PgConnection,
    key: SignerKey,
    keys: LogKeys,
    /// The checkpoint that is remembered: the newest.
    remembered: Head,
    /// Sizes of the log under its checkpoints.
    checkpoints: Vec<u64>,
}

impl Target {
    async fn of(stack: &Stack) -> Result<Self> {
        let client = stack.client()?;
        let question = json!({ "action": "restart", "resource": "k8s/local/shop/Deployment/web" });
        for _ in 0..ENTRIES {
            answered(|| client.post("/api/v1/policy/evaluate", &question)).await?.expect(200)?;
        }
        settled(stack).await?;
        stack.control_plane(0).process().terminate(WITHIN).await?;
        let mut conn = PgConnection::connect(&stack.control_plane_database().superuser_url).await?;
        let log = StoredLog::read(&mut conn).await?;
        ensure!(log.pending == 0, "everything has its place");
        let keyring = MasterKey::from_base64(&stack.master_key()?)?.keyring();
        let origin = log.checkpoints[0].2.lines().next().context("an origin")?;
        let key = keyring.log_key(origin)?;
        let keys = LogKeys::new(vec![key.verifier().clone()])?;
        let newest = &log.checkpoints.last().context("a checkpoint")?.2;
        let remembered = keys.open(newest.as_bytes())?.head;
        let checkpoints = log.checkpoints.iter().map(|(size, ..)| size.cast_unsigned()).collect();
        Ok(Self { conn, key, keys, remembered, checkpoints })
    }

    /// What an auditor finds who exports all and verifies it, under the newest checkpoint or the one of `size`.
    async fn verify(&mut self, checkpoint: Option<u64>) -> Result<Report, Found> {
        let wanted = Wanted {
            form: Form::Bundle,
            filter: Filter::default(),
            first: None,
            end: None,
            checkpoint,
            remembered: Some(self.remembered.size),
        };
        let mut verifier = Verifier::new(self.keys.clone(), vec![self.remembered]);
        let mut export = Export::new(&mut self.conn, &LogSigners::first(self.key.clone()), wanted)
            .await
            .map_err(Found::nothing)?;
        while let Some(piece) = export.piece(&mut self.conn).await.map_err(Found::nothing)? {
            if piece.is_empty() {
                continue;
            }
            for line in piece.strip_suffix(b"\n").unwrap_or(&piece).split(|byte| *byte == b'\n') {
                verifier.line(line).map_err(Found::Fault)?;
            }
        }
        verifier.finish().map_err(Found::Fault)
    }

    /// Whether a sequencer would add to this log.
    async fn would_go_on(&mut self) -> bool {
        Log::begin(&mut self.conn, LogSigners::first(self.key.clone())).await.is_ok()
    }

    async fn run(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut self.conn).await.map(drop)
    }

    async fn require_clean(&mut self) -> Result<()> {
        let report =
            self.verify(None).await.map_err(|found| anyhow::anyhow!("an honest log is blamed: {found:?}"))?;
        ensure!(report.entries == self.remembered.size && report.remembered == [self.remembered]);
        Ok(())
    }
}

/// Why a log is not accepted.
#[derive(Debug)]
enum Found {
    Fault(Fault),
    /// The export breaks off, or does not begin: what has come is incomplete.
    BrokenOff {
        code: &'static str,
    },
}

impl Found {
    #[expect(clippy::needless_pass_by_value, reason = "the shape of map_err")]
    fn nothing(error: aegis_control_plane::error::Error) -> Self {
        Self::BrokenOff { code: error.code() }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Fault(fault) => fault.code(),
            Self::BrokenOff { code } => code,
        }
    }
}

/// Makes one change and returns how it was told; nothing when the database itself refused it.
async fn attack(target: &mut Target, change: &Change) -> Result<Option<&'static str>> {
    target.run("begin; set local session_replication_role = replica").await?;
    let told = match target.run(&change.sql).await {
        Err(_) => None,
        Ok(()) => Some(told(target, change).await?),
    };
    target.run("rollback").await?;
    Ok(told)
}

async fn told(target: &mut Target, change: &Change) -> Result<&'static str> {
    match change.touched {
        Touched::Log => match target.verify(None).await {
            Err(found) => Ok(found.code()),
            Ok(_) => anyhow::bail!("nobody would notice"),
        },
        // A checkpoint of earlier days is looked at by whoever uses it.
        Touched::Checkpoint(size) => match target.verify(Some(size)).await {
            Err(found) => Ok(found.code()),
            Ok(_) => anyhow::bail!("whoever uses that checkpoint would not notice"),
        },
        // What is no evidence must not spoil any; whoever goes on from there notices.
        Touched::Sequencer => {
            target.require_clean().await?;
            ensure!(!target.would_go_on().await, "entries would be added to it");
            Ok("not-gone-on-with")
        }
        Touched::Nothing => {
            target.require_clean().await?;
            Ok("not-blamed")
        }
    }
}

async fn campaign(changes: u32) -> Result<()> {
    let mut chance = Chance::from_environment()?;
    let stack = Stack::start(StackOptions::default()).await?;
    let mut target = Target::of(&stack).await?;
    target.require_clean().await?;
    target.run("begin").await?;
    ensure!(target.would_go_on().await, "a sequencer would refuse an honest log");
    target.run("rollback").await?;
    let mut ways: BTreeMap<(&'static str, &'static str), u32> = BTreeMap::new();
    let mut made = 0;
    while made < changes {
        let change = Change::by(&mut chance, target.remembered.size, &target.checkpoints);
        let told = attack(&mut target, &change).await;
        let told = told.with_context(|| format!("change {made}, {}: {}", change.name, change.sql))?;
        let Some(told) = told else { continue };
        *ways.entry((change.name, told)).or_default() += 1;
        made += 1;
        if made % CONTROL_EVERY == 0 {
            target.require_clean().await?;
        }
    }
    for ((change, told), count) in &ways {
        eprintln!("{count:>6} × {change}: {told}");
    }
    target.require_clean().await
}

#[tokio::test]
async fn whatever_is_changed_up_to_the_remembered_checkpoint_is_told_and_an_honest_log_is_not_blamed()
-> Result<()> {
    campaign(CHANGES).await
}

#[tokio::test]
#[ignore = "takes minutes: ten thousand changes"]
async fn ten_thousand_changes_are_told_and_an_honest_log_is_not_blamed() -> Result<()> {
    campaign(CHANGES_LONG).await
}
