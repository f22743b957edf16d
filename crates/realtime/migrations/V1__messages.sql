-- What is sent by SQL, and what policies of private topics are written on. One partition for each day (UTC).
create table realtime.messages (
    topic text not null,
    extension text not null,
    payload jsonb,
    event text,
    private boolean default false,
    updated_at timestamp not null default (now() at time zone 'utc'),
    inserted_at timestamp not null default (now() at time zone 'utc'),
    id uuid not null default gen_random_uuid(),
    binary_payload bytea,
    constraint messages_pkey primary key (id, inserted_at),
    constraint messages_payload_exclusive check (payload is null or binary_payload is null)
) partition by range (inserted_at);

-- For replays: one topic's newest.
create index messages_topic_inserted_at_index on realtime.messages (topic, inserted_at desc)
    where extension = 'broadcast' and private;

-- Without a policy nobody reads or sends anything; rights alone give nothing.
alter table realtime.messages enable row level security;
grant select, insert, update on realtime.messages to anon, authenticated, service_role;
grant all on realtime.messages to dashboard_user;

-- Makes the partitions of yesterday, today and the days to come that are missing, and drops those of days that ended
-- more than three days ago. Anybody may call it: it does nothing else, and most often nothing. It gives up before others
-- wait long for it.
create function realtime.keep_partitions() returns void
language plpgsql security definer set search_path = '' set lock_timeout = '1s' as $$
declare
    today constant date := (pg_catalog.now() at time zone 'utc')::date;
    place text;
begin
    -- One at a time; who waited finds them made.
    perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('madbase.realtime.partitions', 0));
    for idx in -1..4 loop
        place := 'messages_' || pg_catalog.to_char(today + idx, 'YYYY_MM_DD');
        if pg_catalog.to_regclass('realtime.' || place) is null then
            -- Made first and attached then: that lets others read and write meanwhile.
            execute pg_catalog.format(
                'create table realtime.%I (like realtime.messages including defaults including constraints)', place
            );
            execute pg_catalog.format(
                'alter table realtime.messages attach partition realtime.%I for values from (%L) to (%L)',
                place, today + idx, today + idx + 1
            );
        end if;
    end loop;
    for place in
        select child.relname
        from pg_catalog.pg_inherits as it
        join pg_catalog.pg_class as child on child.oid = it.inhrelid
        where it.inhparent = 'realtime.messages'::pg_catalog.regclass
            and child.relnamespace = 'realtime'::pg_catalog.regnamespace
            and child.relname ~ '^messages_\d{4}_\d{2}_\d{2}$'
            and child.relname < 'messages_' || pg_catalog.to_char(today - 3, 'YYYY_MM_DD')
        order by 1
    loop
        begin
            execute pg_catalog.format('drop table realtime.%I', place);
        exception when lock_not_available or insufficient_privilege or dependent_objects_still_exist then
            exit;
        end;
    end loop;
end
$$;

select realtime.keep_partitions();

-- The stream that sends what was inserted; dropped days are nobody's business.
do $$
begin
    if not exists (
        select from pg_catalog.pg_publication where pubname = 'supabase_realtime_messages_publication'
    ) then
        create publication supabase_realtime_messages_publication for table realtime.messages
            with (publish = 'insert', publish_via_partition_root = true);
    end if;
end
$$;
