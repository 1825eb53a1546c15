-- Where to look for entries, for the whole log but its newest end. It follows from the bytes of the entries: whoever
-- empties both tables has them filled anew.

-- Runs of neighbours that are filed, without gap from the beginning of the log.
create table audit.blocks (
    block integer constraint blocks_pkey primary key,
    -- Of its entries.
    oldest timestamptz not null,
    newest timestamptz not null
);

-- Which entries of a block say something.
create table audit.postings (
    -- Number of a field with a value.
    term bigint not null,
    block integer not null,
    -- Two bytes for each entry, the place in its block; or, in 512 bytes, a bit for each place.
    places bytea not null,
    constraint postings_pkey primary key (term, block)
);
-- Longer values are not worth compressing.
alter table audit.postings alter column places set storage plain;

create trigger blocks_refuse_change before update or delete on audit.blocks
    for each statement execute function audit.refuse_change();
create trigger postings_refuse_change before update or delete on audit.postings
    for each statement execute function audit.refuse_change();

-- What has no place in the log yet.
create view audit.unplaced as
    select id, at, body from audit.pending;

grant select, insert on audit.blocks, audit.postings to aegis_control_plane;
grant select on audit.unplaced to aegis_control_plane;

-- Whether a body holds a text; `lowered` has a character for each byte, and no capitals of ASCII. Bytes that are no
-- text hold none.
create function audit.holds(body bytea, lowered text) returns boolean
language sql immutable parallel safe as $$
    select case
        when position('\x00'::bytea in body) > 0 then false
        else position(lowered in lower(convert_from(body, 'LATIN1') collate "C")) > 0
    end
$$;
