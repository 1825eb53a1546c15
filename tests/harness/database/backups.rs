//! Backups of a server or of one database, and putting them back while whoever uses them looks on.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Database, Installation, Server, Service, execute};
use crate::eventually::until;
use crate::paths::random_name;
use crate::process::Launch;

/// Connections come back at once; the moment without any is soon hit.
const UNUSED_WITHIN: Duration = Duration::from_secs(60);

impl Server {
    /// Dumps a database as its owner; returns the file.
    pub async fn dump(&self, database: &Database) -> Result<PathBuf> {
        let file = self.folder().join(format!("{}.dump", random_name(8)));
        let dump = as_owner("pg_dump", database)?.arg("--format=custom").arg("--file").arg(&file);
        dump.output().await?;
        Ok(file)
    }

    /// All rows of a database as text; bytes are in hexadecimal.
    pub async fn rows(&self, database: &Database) -> Result<String> {
        as_owner("pg_dump", database)?.args(["--data-only", "--inserts"]).output().await
    }

    /// Puts a database back as it was dumped, under its old name, also while somebody uses it.
    pub async fn restore(&self, service: Service, database: &Database, dump: &Path) -> Result<()> {
        self.put_aside(database).await?;
        let Database { name, .. } = database;
        let (role, owner) = (service.role(), service.owner_role());
        self.run_as_superuser(format!("create database {name} owner {owner}")).await?;
        self.run_as_superuser(format!(
            "revoke all on database {name} from public; grant connect on database {name} to {role}"
        ))
        .await?;
        let restore = as_owner("pg_restore", database)?.args(["--exit-on-error", "--single-transaction"]);
        restore.args(["--no-owner"]).arg(dump).output().await?;
        Ok(())
    }

    /// Gives a database another name, also while somebody uses it.
    pub async fn put_aside(&self, database: &Database) -> Result<()> {
        let Database { name, .. } = database;
        let elsewhere = self.superuser_url("postgres");
        let drop_connections =
            format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'");
        until("a database being unused", UNUSED_WITHIN, async || {
            execute(&elsewhere, drop_connections.clone()).await?;
            execute(&elsewhere, format!("alter database {name} rename to {name}_{}", random_name(8))).await?;
            Ok(true)
        })
        .await
    }

    /// Copies the whole server as it is now; returns the copy's folder.
    pub async fn base_backup(&self) -> Result<PathBuf> {
        let Installation { programs, user } = Installation::find()?;
        let own = self.folder().join("postgres");
        let copy = own.join(format!("copy-{}", random_name(8)));
        let backup = Launch::new(programs.join("pg_basebackup"))
            .user(user)
            .folder(&own)
            .args(["--host=127.0.0.1", "--username=postgres", "--checkpoint=fast", "--wal-method=stream"])
            .arg(format!("--port={}", self.port))
            .arg(format!("--pgdata={}", copy.display()))
            .env("PGPASSWORD", &self.superuser_password);
        backup.output().await?;
        Ok(copy)
    }

    /// Kills the server, and promotes a copy of it in its place: what happened since the copy is lost.
    pub async fn fail_over_to(&self, copy: &Path) -> Result<()> {
        let installation = Installation::find()?;
        let signal = copy.join("standby.signal");
        fs::write(&signal, "")?;
        if let Some((uid, gid)) = installation.user {
            chown(&signal, Some(uid), Some(gid))?;
        }
        self.process.replace(installation.launch_on(self.folder(), copy, self.port))?;
        self.wait_until_ready().await?;
        self.run_as_superuser("select pg_promote()".to_owned()).await
    }
}

/// One of PostgreSQL's programs on a database, as its owner.
fn as_owner(program: &str, database: &Database) -> Result<Launch> {
    let (scheme, rest) = database.owner_url.split_once("://").context("a URL")?;
    let (credentials, place) = rest.split_once('@').context("credentials")?;
    let (role, password) = credentials.split_once(':').context("a password")?;
    Ok(Launch::new(Installation::find()?.programs.join(program))
        .arg(format!("--dbname={scheme}://{role}@{place}"))
        .env("PGPASSWORD", password))
}
