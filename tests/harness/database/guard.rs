//! In the databases that tests share, a transaction of the control plane that changes state and records nothing is
//! refused at its commit: a route or an engine that forgets its entry fails whatever test comes by.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use sqlx::{Connection, PgConnection, Row, raw_sql};

/// Tables whose changes are state, and which of their changes.
const GUARDED: [(&str, &str); 37] = [
    ("audit.log_keys", "insert or update or delete"),
    ("audit.retired_log_keys", "insert or update or delete"),
    ("actions", "insert or update of state or delete"),
    ("alert_source_credentials", "insert or update of revoked_at or delete"),
    ("alert_sources", "insert or update or delete"),
    ("approval_requests", "insert or delete"),
    ("approvals", "insert or delete"),
    ("attempts", "insert or delete"),
    ("audit.texts", "insert or update or delete"),
    ("client_keys", "insert or update of revoked_at or delete"),
    ("clients", "insert or update or delete"),
    ("closures", "insert or update or delete"),
    ("cluster_order_keys", "insert or update or delete"),
    ("cluster_receipt_keys", "insert or update or delete"),
    ("clusters", "insert or update or delete"),
    ("decisions", "insert or update or delete"),
    ("holds", "insert or update or delete"),
    ("idempotency_keys", "insert"),
    ("intents", "insert or update or delete"),
    ("invitations", "insert or update or delete"),
    ("password_resets", "insert"),
    ("policies", "insert or update or delete"),
    ("policy_set", "insert or update or delete"),
    ("policy_sets", "insert or update or delete"),
    ("policy_versions", "insert or update or delete"),
    ("receipts", "insert or update or delete"),
    ("recovery_codes", "insert or update or delete"),
    ("reviews", "insert or update or delete"),
    ("role_grant_approvals", "insert or update or delete"),
    ("role_grants", "insert or update or delete"),
    ("root_key", "insert or update or delete"),
    ("second_factors", "insert or update or delete"),
    ("sessions", "insert or update of ended_at, stepped_up_at"),
    ("user_identities", "insert or update or delete"),
    ("user_roles", "insert or update or delete"),
    ("users", "insert or update or delete"),
    ("webhooks", "insert or update or delete"),
];

/// Tables that hold no state of their own, and why.
const EXEMPT: [(&str, &str); 23] = [
    ("_sqlx_migrations", "what the owner migrated"),
    ("audit.blocks", "follows from the log"),
    ("audit.checkpoints", "the log itself"),
    ("audit.entries", "the log itself"),
    ("audit.forks", "what an executor holds: the log cannot speak for itself then"),
    ("audit.kept", "the log itself"),
    ("audit.outcomes", "filled by the entry of the outcome"),
    ("audit.pending", "the log itself"),
    ("audit.postings", "follows from the log"),
    ("audit.sequencer", "the log itself"),
    ("audit.tiles", "the log itself"),
    ("known_addresses", "where people signed in from, which is recorded"),
    ("ledgers", "what receipts named, which are entries"),
    ("mailed_recipients", "how often somebody was mailed; what they got is recorded"),
    ("mails", "an outbox of what strangers ask for; what comes of it is recorded"),
    ("nonces", "what signatures used up"),
    ("refresh_tokens", "how a session goes on; that it begins and is ended is recorded"),
    ("refusals", "whether a refusal has its entry already"),
    ("sign_ups", "an address that was mailed: the person is recorded when they choose a password"),
    ("sign_in_delays", "how long sign-ins wait; that one failed is recorded"),
    ("sign_in_flows", "how a sign-in at the provider goes on; that it ended with a session is recorded"),
    ("webhook_attempts", "what was sent is recorded there and nowhere else"),
    ("webhook_deliveries", "an outbox of entries"),
];

/// Guards the control plane's database at `superuser_url`.
///
/// # Errors
/// When it has a table that is neither guarded nor exempt: then somebody has to decide.
pub(super) async fn install(superuser_url: &str, role: &str) -> Result<()> {
    let mut connection = PgConnection::connect(superuser_url).await?;
    let tables = raw_sql(
        "select case schemaname when 'public' then '' else schemaname || '.' end || tablename from pg_tables \
         where schemaname in ('public', 'audit') and tablename not like 'entries_from_%'",
    );
    for row in tables.fetch_all(&mut connection).await? {
        let table: String = row.try_get(0)?;
        let known = GUARDED.iter().chain(&EXEMPT).any(|(name, _)| *name == table);
        ensure!(known, "say in tests/harness/database/guard.rs whether a change of {table} needs an entry");
    }
    raw_sql(sqlx::AssertSqlSafe(sql(role)?))
        .execute(&mut connection)
        .await
        .context("cannot guard a database")?;
    connection.close().await?;
    Ok(())
}

fn sql(role: &str) -> Result<String> {
    let mut sql = format!(
        "create schema guard;
         create function guard.note() returns trigger language plpgsql as $$ begin
             perform set_config('guard.recorded', pg_current_xact_id()::text, true);
             return null;
         end $$;
         create function guard.require() returns trigger language plpgsql as $$ begin
             if session_user = '{role}'
                 and current_setting('guard.recorded', true) is distinct from pg_current_xact_id()::text
             then
                 raise exception '% of % without an entry', tg_op, tg_table_name;
             end if;
             return null;
         end $$;
         grant usage on schema guard to {role};
         create trigger guard_note after insert on audit.pending for each statement execute function guard.note();"
    );
    for (table, changes) in GUARDED {
        let name = table.replace('.', "_");
        write!(
            sql,
            "create constraint trigger guard_{name} after {changes} on {table} deferrable initially deferred
             for each row execute function guard.require();"
        )?;
    }
    Ok(sql)
}
