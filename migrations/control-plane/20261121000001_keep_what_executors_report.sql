-- What a cluster's executor says of itself when it is asked what a target looks like.
alter table clusters
    -- The ledger it was last seen to use: orders are signed for this one.
    add column ledger_id uuid,
    -- The namespaces it may touch, sorted; null when it was never asked.
    add column allowed_namespaces text[],
    add constraint clusters_ledger_id_fkey foreign key (name, ledger_id) references ledgers (cluster, id);

update clusters set ledger_id =
    (select id from ledgers where cluster = clusters.name order by first_seen_at desc, id desc limit 1);
