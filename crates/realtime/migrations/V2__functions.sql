-- What SQL sends with, and what the service asks for a caller's rights. All run with the rights of whoever calls:
-- policies decide, also about what triggers send.
-- No search path is set, because functions that policies call would run with it.

-- The topic that a policy is asked about.
create function realtime.topic() returns text
language sql stable as $$
    select nullif(pg_catalog.current_setting('realtime.topic', true), '')
$$;

-- Inserts a message; policies see its topic. Never raises: a transaction must not fail for a message.
create function realtime.put_message(
    id uuid, payload jsonb, binary_payload bytea, event text, topic text, private boolean
) returns void
language plpgsql as $$
declare
    asked_before constant text := pg_catalog.current_setting('realtime.topic', true);
    today constant text := pg_catalog.to_char(pg_catalog.now() at time zone 'utc', 'YYYY_MM_DD');
begin
    perform pg_catalog.set_config('realtime.topic', topic, true);
    begin
        insert into realtime.messages (id, payload, binary_payload, event, topic, private, extension)
        values (id, payload, binary_payload, event, topic, private, 'broadcast');
    exception when check_violation then
        if pg_catalog.to_regclass('realtime.messages_' || today) is not null then
            raise;
        end if;
        -- Nobody has made partitions for days.
        perform realtime.keep_partitions();
        insert into realtime.messages (id, payload, binary_payload, event, topic, private, extension)
        values (id, payload, binary_payload, event, topic, private, 'broadcast');
    end;
    perform pg_catalog.set_config('realtime.topic', coalesce(asked_before, ''), true);
exception when others then
    raise warning 'WarnSendingBroadcastMessage: %', sqlerrm;
end
$$;

create function realtime.send(payload jsonb, event text, topic text, private boolean default true) returns void
language plpgsql as $$
declare
    id constant uuid := pg_catalog.gen_random_uuid();
begin
    if pg_catalog.jsonb_typeof(payload) = 'object' and not payload ? 'id' then
        payload := payload || pg_catalog.jsonb_build_object('id', id);
    end if;
    perform realtime.put_message(id, payload, null, event, topic, private);
end
$$;

create function realtime.send_binary(payload bytea, event text, topic text, private boolean default true) returns void
language plpgsql as $$
begin
    perform realtime.put_message(pg_catalog.gen_random_uuid(), null, payload, event, topic, private);
end
$$;

-- For triggers of rows: sends what happened to one.
create function realtime.broadcast_changes(
    topic_name text,
    event_name text,
    operation text,
    table_name text,
    table_schema text,
    new record,
    old record,
    level text default 'ROW'
) returns void
language plpgsql as $$
begin
    if level = 'STATEMENT' then
        raise exception 'realtime.broadcast_changes is for triggers of rows, not of statements'
            using hint = 'Create the trigger with "for each row".';
    end if;
    if operation is null or operation not in ('INSERT', 'UPDATE', 'DELETE') then
        raise exception 'realtime.broadcast_changes does not know the operation %', operation
            using hint = 'Pass TG_OP of a trigger on insert, update or delete.';
    end if;
    perform realtime.send(
        pg_catalog.jsonb_build_object(
            'operation', operation, 'schema', table_schema, 'table', table_name, 'record', new, 'old_record', old
        ),
        event_name,
        topic_name
    );
end
$$;

-- What `caller` may do in `asked_topic`. For the service alone, which rolls back whatever it did.
-- Rows that it inserts itself stand for messages: which of them the caller sees, and whether he may insert such.
create function realtime.rights(
    caller text, claims text, headers text, asked_topic text,
    out read_broadcast boolean, out write_broadcast boolean, out read_presence boolean, out write_presence boolean
)
language plpgsql as $$
declare
    broadcast constant uuid := pg_catalog.gen_random_uuid();
    presence constant uuid := pg_catalog.gen_random_uuid();
    today constant timestamp := pg_catalog.now() at time zone 'utc';
    seen text[] := '{}';
begin
    -- The service's own roles are no callers'. Of what it was granted, only the data path's login may log in; whoever that
    -- may become may be asked for.
    if not exists (
        select from pg_catalog.pg_auth_members as it
        join pg_catalog.pg_roles as granted on granted.oid = it.roleid and granted.rolcanlogin
        where it.member = session_user::pg_catalog.regrole and pg_catalog.pg_has_role(granted.oid, caller, 'member')
    ) then
        raise exception 'permission denied to set role "%"', caller using errcode = 'insufficient_privilege';
    end if;

    insert into realtime.messages (id, topic, extension, private, inserted_at)
    values (broadcast, asked_topic, 'broadcast', true, today), (presence, asked_topic, 'presence', true, today);

    perform pg_catalog.set_config('realtime.topic', asked_topic, true),
        pg_catalog.set_config('request.jwt.claims', claims, true),
        pg_catalog.set_config('request.headers', headers, true),
        pg_catalog.set_config('role', caller, true);

    -- Equal ids first, whatever a policy costs: that operator leaks nothing, so PostgreSQL may.
    if pg_catalog.has_table_privilege('realtime.messages', 'select') then
        select coalesce(pg_catalog.array_agg(it.extension), '{}') into seen
        from realtime.messages as it
        where it.id in (broadcast, presence) and it.inserted_at = today;
    end if;
    read_broadcast := 'broadcast' = any (seen);
    read_presence := 'presence' = any (seen);

    begin
        insert into realtime.messages (topic, extension, private, inserted_at)
        values (asked_topic, 'broadcast', true, today);
        write_broadcast := true;
    exception when insufficient_privilege then
        write_broadcast := false;
    end;
    begin
        insert into realtime.messages (topic, extension, private, inserted_at)
        values (asked_topic, 'presence', true, today);
        write_presence := true;
    exception when insufficient_privilege then
        write_presence := false;
    end;
end
$$;
revoke all on function realtime.rights(text, text, text, text) from public;
