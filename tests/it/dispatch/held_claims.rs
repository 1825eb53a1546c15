//! Holds every claim of a stack between the queue and the order.

use aegis_tests::stack::Stack;
use anyhow::Result;
use sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};

/// As long as it lives, no control plane learns of earlier attempts, and so none orders anything. Requests are recorded
/// and queued as ever.
pub(crate) struct HeldClaims {
    connection: PgConnection,
}

impl HeldClaims {
    /// Waits for what is being claimed just now, then lets nobody on.
    pub(crate) async fn take(stack: &Stack) -> Result<Self> {
        let mut connection = PgConnection::connect(&stack.control_plane_database().superuser_url).await?;
        raw_sql("begin; lock table attempts in access exclusive mode").execute(&mut connection).await?;
        Ok(Self { connection })
    }

    /// Changes what no service changes, unseen by anybody until the claims go on.
    pub(crate) async fn execute(&mut self, sql: String) -> Result<()> {
        raw_sql(AssertSqlSafe(sql)).execute(&mut self.connection).await?;
        Ok(())
    }

    /// Lets the claims go on.
    pub(crate) async fn release(mut self) -> Result<()> {
        raw_sql("commit").execute(&mut self.connection).await?;
        Ok(self.connection.close().await?)
    }
}
