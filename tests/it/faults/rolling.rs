//! Control planes replaced one after the other, and migrated all at once.

use aegis_tests::database::{Server, Service, execute};
use anyhow::Result;
use tokio::task::JoinSet;

#[tokio::test]
async fn four_replicas_that_migrate_one_database_at_once_all_succeed() -> Result<()> {
    let server = Server::shared().await?;
    for service in Service::ALL {
        let database = server.empty(service).await?;
        let mut migrating = JoinSet::new();
        for _ in 0..4 {
            let database = database.clone();
            migrating.spawn(async move { database.migrate(service).await });
        }
        migrating.join_all().await.into_iter().collect::<Result<Vec<()>>>()?;
        // Each migration was applied once, and once more changes nothing.
        database.migrate(service).await?;
        let once = "do $$ begin
            if exists (select from _sqlx_migrations where not success)
                or (select count(distinct version) from _sqlx_migrations) <> (select count(*) from _sqlx_migrations)
                or not exists (select from _sqlx_migrations)
            then raise exception 'not every migration was applied once'; end if;
        end $$";
        execute(&database.superuser_url, once.to_owned()).await?;
    }
    Ok(())
}
