-- A railway for the cases in areas/*.http: `rail` is exposed first, then `depot`; `engine_room` is not; `toolbox` is
-- in the search path only. Cases are rolled back, except those about `turnstiles`.
create schema rail;
create schema depot;
create schema engine_room;
create schema toolbox;
comment on schema rail is 'Railway
Trains that run on time.';

-- What is read ------------------------------------------------------------------------------------------------------
create type rail.comfort as enum ('second', 'first', 'sleeper');
create table rail.lines (id int primary key, name text not null unique, colour text, opened date);
create table rail.stations (
    id int primary key, name text not null, city text, altitude numeric, platforms int default 2, staffed boolean,
    info jsonb, sign json, tags text[] not null default '{}', hours int4range, hub_id int references rail.stations
);
create table rail.stops (
    line_id int references rail.lines, station_id int references rail.stations, position int not null,
    primary key (line_id, station_id)
);
create table rail.trains (id int primary key, name text not null, line_id int references rail.lines, specs jsonb);
create table rail.cockpits (train_id int primary key references rail.trains, maker text);
create table rail.trips (
    id int primary key, train_id int references rail.trains,
    origin_id int constraint trips_from references rail.stations,
    destination_id int constraint trips_to references rail.stations,
    fare numeric(6, 2), seats int
);
create table rail.passengers (id int primary key, name text not null, email text);
create table rail.tickets (
    id int primary key, trip_id int references rail.trips, passenger_id int references rail.passengers,
    comfort rail.comfort not null default 'second', paid numeric(6, 2)
);
create table rail.notices (
    id int primary key, station_id int references rail.stations, body text,
    words tsvector generated always as (to_tsvector('english', body)) stored, payload jsonb
);
create table rail.readings (
    id int, day date, station_id int references rail.stations, degrees numeric, primary key (id, day)
) partition by range (day);
create table rail.readings_2023 partition of rail.readings for values from ('2023-01-01') to ('2024-01-01');
create table rail.readings_2024 partition of rail.readings for values from ('2024-01-01') to ('2025-01-01');
create table rail.repairs (
    id int primary key, reading_id int, reading_day date, note text,
    foreign key (reading_id, reading_day) references rail.readings
);
create table rail."lost & found" ("item no." int primary key, "Owner's name" text, "select" text, "a:b" text);
create table rail."gare à l'été" (id int primary key, "größe" int);
create table rail.name (id int primary key, name text, lines int references rail.lines);

create table engine_room.faults (id int primary key, train_id int references rail.trains, what text);
create view rail.faults as select * from engine_room.faults;
create view rail.staffed_stations as select id, name, city, hub_id from rail.stations where staffed;
create view rail.board as select id as station, name as title from rail.staffed_stations;
create materialized view rail.timetable as select station_id, position from rail.stops where line_id = 2;

comment on table rail.lines is 'Lines
Every line that runs.';
comment on column rail.lines.colour is 'As on the map.';

create function rail.label(rail.stations) returns text language sql immutable as $$ select $1.name || ' (' || $1.city || ')' $$;
create function rail.is_high(rail.stations) returns boolean language sql immutable as $$ select $1.altitude > 500 $$;
create function rail.departures(rail.stations) returns setof rail.trips rows 10 language sql stable
    as $$ select * from rail.trips where origin_id = $1.id $$;
create function rail.first_trip(rail.trains) returns setof rail.trips rows 1 language sql stable
    as $$ select * from rail.trips where train_id = $1.id order by id limit 1 $$;
create function rail.neighbours(rail.stations) returns setof rail.stations rows 10 language sql stable
    as $$ select s.* from rail.stations s where s.city = $1.city and s.id <> $1.id $$;
-- Overrides the foreign key of the same name.
create function rail.passengers(rail.tickets) returns setof rail.passengers rows 1 language sql stable
    as $$ select id, upper(name), email from rail.passengers where id = $1.passenger_id $$;

-- Data representations ------------------------------------------------------------------------------------------------
create domain rail.gauge as int;
create function rail.gauge_to_json(rail.gauge) returns json language sql immutable as $$ select to_json($1::int || ' mm') $$;
create function rail.gauge_of_text(text) returns rail.gauge language sql immutable
    as $$ select replace($1, ' mm', '')::int $$;
create function rail.gauge_of_json(json) returns rail.gauge language sql immutable
    as $$ select rail.gauge_of_text($1 #>> '{}') $$;
create cast (rail.gauge as json) with function rail.gauge_to_json(rail.gauge) as implicit;
create cast (json as rail.gauge) with function rail.gauge_of_json(json) as implicit;
create cast (text as rail.gauge) with function rail.gauge_of_text(text) as implicit;
create table rail.tracks (id int primary key, width rail.gauge, station_id int references rail.stations);
create view rail.track_list as select id, width from rail.tracks;

-- What is written -----------------------------------------------------------------------------------------------------
create domain rail.weight as int default 7;
create table rail.parcels (
    code text primary key, depot text not null default 'north', grams int check (grams > 0), note text default 'none',
    extra jsonb, size rail.weight, station_id int references rail.stations
);
create view rail.heavy_parcels as select code, grams from rail.parcels where grams >= 1000;
create table rail.seats (train_id int references rail.trains, number int, state text default 'free', primary key (train_id, number));
create table rail.logbook (entry text, level int default 1);
create table rail.vault (id int primary key, label text, secret text);
create table rail.diaries (id int primary key, owner uuid not null default '00000000-0000-0000-0000-000000000001', page text);
alter table rail.diaries enable row level security;
create policy own on rail.diaries for all to authenticated
    using (owner = auth.uid()) with check (owner = auth.uid());
create table rail.turnstiles (id int primary key, passes int, slot int constraint one_per_slot unique deferrable initially deferred);
create table rail.guarded (id int primary key);
create function rail.refuse_all() returns trigger language plpgsql as $$ begin
    raise sqlstate '21000' using message = tg_op || ' requires a WHERE clause';
end $$;
create trigger guard before update or delete on rail.guarded for each statement execute function rail.refuse_all();
create table rail.alarms (id int primary key, message text);
create function rail.ring() returns trigger language plpgsql as $$ begin
    perform set_config('response.headers', '[{"X-Alarm": "' || new.id || '"}]', true);
    if new.message = 'quiet' then perform set_config('response.status', '202', true); end if;
    return new;
end $$;
create trigger ring before insert or update on rail.alarms for each row execute function rail.ring();

-- Functions -----------------------------------------------------------------------------------------------------------
create function rail.add_times(minutes int, more int default 5) returns int language sql immutable as $$ select minutes + more $$;
create function rail.greet() returns text language sql immutable as $$ select 'all aboard' $$;
create function rail.close_doors() returns void language sql as $$ $$;
create function rail.station_list() returns setof rail.stations language sql stable as $$ select * from rail.stations order by id $$;
create function rail.station(wanted int) returns rail.stations language sql stable as $$ select * from rail.stations where id = wanted $$;
create function rail.altitudes() returns setof numeric language sql stable as $$ select altitude from rail.stations order by id $$;
create function rail.rows_of(wanted int[]) returns setof rail.lines language sql stable as $$ select * from rail.lines where id = any(wanted) $$;
create function rail.split(fare numeric, out whole int, out cents int) language sql immutable as $$ select trunc(fare)::int, ((fare - trunc(fare)) * 100)::int $$;
create function rail.twice(inout value int) language sql immutable as $$ select value * 2 $$;
create function rail.both() returns table (place text, height int) language sql immutable as $$ values ('valley', 100), ('summit', 3000) $$;
create function rail.sum_of(variadic numbers int[]) returns bigint language sql immutable as $$ select sum(n) from unnest(numbers) n $$;
create function rail.class_of(comfort rail.comfort) returns rail.comfort language sql immutable as $$ select comfort $$;
create function rail.padded(code char(5)) returns text language sql immutable as $$ select '[' || code || ']' $$;
create function rail.bits(flags bit(4)) returns text language sql immutable as $$ select flags::text $$;
create function rail.json_in(doc json) returns text language sql immutable as $$ select json_typeof(doc) $$;
create function rail.jsonb_in(doc jsonb) returns jsonb language sql immutable as $$ select doc $$;
create function rail.array_in(words text[]) returns text language sql immutable as $$ select array_to_string(words, '+') $$;
create function rail.wide(width rail.gauge) returns int language sql immutable as $$ select width::int $$;
create function rail.null_out() returns text language sql immutable as $$ select null::text $$;
create function rail.count_up() returns int language sql volatile as $$ insert into rail.logbook(entry) values ('count') returning level $$;
create function rail.delete_tickets(of_trip int) returns setof rail.tickets language sql volatile
    as $$ delete from rail.tickets where trip_id = of_trip returning * $$;
create function rail.delete_quietly() returns void language sql volatile as $$ delete from rail.tickets $$;
create function rail.writes_anyway() returns int language plpgsql stable as $$ begin
    insert into rail.logbook(entry) values ('stable'); return 1;
end $$;

create function rail.fare_for(km int) returns text language sql immutable as $$ select 'km' $$;
create function rail.fare_for(km int, child boolean) returns text language sql immutable as $$ select 'km, child' $$;
create function rail.fare_for(zone text) returns text language sql immutable as $$ select 'zone' $$;
create function rail.unclear(a int) returns text language sql immutable as $$ select 'int' $$;
create function rail.unclear(a text) returns text language sql immutable as $$ select 'text' $$;
create function rail.search_trips(origin int, destination int, seats int default 1) returns int language sql immutable as $$ select 1 $$;

create function rail.take_json(json) returns json language sql immutable as $$ select $1 $$;
create function rail.take_text(text) returns text language sql immutable as $$ select upper($1) $$;
create function rail.take_xml(xml) returns xml language sql immutable as $$ select $1 $$;
create function rail.take_bytes(bytea) returns int language sql immutable as $$ select length($1) $$;
create function rail.take_any(json) returns text language sql immutable as $$ select 'unnamed' $$;
create function rail.take_any(a int) returns text language sql immutable as $$ select 'named' $$;

create function rail.setting(name text) returns text language sql stable as $$ select current_setting(name, true) $$;
create function rail.whoami() returns text language sql stable as $$ select current_user::text $$;
create function rail.raise_plain() returns void language plpgsql as $$ begin
    raise exception 'no trains today' using detail = 'leaves on the line', hint = 'take a bus';
end $$;
create function rail.raise_status(status text) returns void language plpgsql as $$ begin
    raise exception using errcode = 'PT' || status, message = 'stop', detail = 'signal', hint = 'wait';
end $$;
create function rail.raise_code(code text) returns void language plpgsql as $$ begin
    raise exception using errcode = code, message = 'raised ' || code;
end $$;
create function rail.raise_full(message text, detail text) returns void language plpgsql as $$ begin
    raise sqlstate 'PGRST' using message = message, detail = detail;
end $$;
create function rail.raise_bare(message text) returns void language plpgsql as $$ begin
    raise sqlstate 'PGRST' using message = message;
end $$;
create function rail.answer_with(headers text, status text default null) returns text language plpgsql as $$ begin
    perform set_config('response.headers', headers, true);
    if status is not null then perform set_config('response.status', status, true); end if;
    return 'body';
end $$;
create function rail.before() returns void language plpgsql as $$ begin
    if current_setting('request.headers', true)::json ->> 'x-ticket' = 'stolen' then
        raise sqlstate 'PT403' using message = 'stolen ticket';
    end if;
    perform set_config('response.headers', '[{"X-Checked": "' || current_setting('request.method') || '"}]', true);
end $$;
create function rail.broken_before() returns void language plpgsql as $$ begin
    perform set_config('response.headers', 'nonsense', true);
end $$;
create function rail.root() returns json language sql stable as $$ select '{"welcome": "aboard"}'::json $$;

-- Media types ---------------------------------------------------------------------------------------------------------
create domain rail."text/html" as text;
create domain rail."application/x-rail" as bytea;
create domain rail."text/x-list" as text;
create domain rail."*/*" as bytea;
create domain rail."text/x-memo" as text;
create function rail.memo() returns rail."text/x-memo" language sql immutable as $$ select 'one'::rail."text/x-memo" $$;
create function rail.memos() returns setof rail."text/x-memo" language sql immutable as $$ select 'one'::rail."text/x-memo" $$;
create function rail.page() returns rail."text/html" language sql immutable as $$ select '<h1>Rail</h1>'::rail."text/html" $$;
create function rail.blob() returns rail."application/x-rail" language sql immutable as $$ select '\x00ff'::bytea::rail."application/x-rail" $$;
create function rail.anything() returns rail."*/*" language sql immutable as $$ select 'any'::bytea::rail."*/*" $$;
create function rail.anything_typed() returns rail."*/*" language plpgsql as $$ begin
    perform set_config('response.headers', '[{"Content-Type": "text/x-mine"}]', true);
    return 'typed'::bytea;
end $$;
create function rail.list_step(state rail."text/x-list", line rail.lines) returns rail."text/x-list" language sql immutable
    as $$ select (coalesce(state || ',', '') || line.name)::rail."text/x-list" $$;
create aggregate rail.list_lines(rail.lines) (sfunc = rail.list_step, stype = rail."text/x-list");
create function rail.html_step(state rail."text/html", item anyelement) returns rail."text/html" language sql immutable
    as $$ select (coalesce(state, '') || '<li>' || (to_json(item) ->> 'name') || '</li>')::rail."text/html" $$;
create aggregate rail.html_list(anyelement) (sfunc = rail.html_step, stype = rail."text/html");

-- The other schemas ---------------------------------------------------------------------------------------------------
create table depot.lines (id int primary key, hall text);
create table depot.wagons (id int primary key, line_id int references depot.lines);
create function depot.greet() returns text language sql immutable as $$ select 'depot' $$;
create type toolbox.size as enum ('s', 'm');
create table toolbox.tools (id int primary key);
create function toolbox.shout(text) returns text language sql immutable as $$ select upper($1) || '!' $$;
create function toolbox.near(int, int) returns boolean language sql immutable as $$ select abs($1 - $2) <= 1 $$;
create function rail.shouted(word text) returns text language plpgsql immutable as $$ begin return shout(word); end $$;

-- Rights --------------------------------------------------------------------------------------------------------------
grant usage on schema rail, depot, toolbox to anon, authenticated, service_role;
grant all on all tables in schema rail, depot to service_role, authenticated;
grant select on rail.lines, rail.stations, rail.stops, rail.trains, rail.trips to anon;
grant insert (id, label, secret) on rail.vault to anon;
grant select (id, label) on rail.vault to anon;
grant execute on all functions in schema rail, depot, toolbox to anon, authenticated, service_role;
revoke execute on function rail.count_up() from public, anon;

-- Rows ----------------------------------------------------------------------------------------------------------------
insert into rail.lines values
    (1, 'Coast', 'blue', '1899-05-01'), (2, 'Alpine', 'red', '1910-06-15'), (3, 'Ghost', null, null);
insert into rail.stations values
    (1, 'Harbour', 'Lund', 3.5, 4, true, '{"wifi": true, "shops": [{"name": "Kiosk", "open": [6, 22]}, {"name": "Café"}]}', '{"text": "Harbour", "size": 12}', '{sea,ferry}', '[6,22)', null),
    (2, 'Market', 'Lund', 12, 2, true, '{"wifi": false, "shops": []}', null, '{centre}', '[5,24)', 1),
    (3, 'Summit', 'Bergen', 1801.25, 1, false, '{"wifi": null, "key with space": 1}', '{"text": null}', '{}', '[9,17)', 4),
    (4, 'Valley', 'Bergen', 620, 2, true, null, null, '{snow,ski}', null, null),
    (5, 'Halt, "old"', null, null, null, null, '{}', null, '{}', 'empty', 4);
insert into rail.stops values (1, 1, 1), (1, 2, 2), (2, 4, 1), (2, 3, 2), (2, 2, 3);
insert into rail.trains values
    (1, 'Gull', 1, '{"power": {"kw": 900, "kind": "diesel"}, "cars": [3, 5]}'), (2, 'Ibex', 2, '{"power": {"kw": 2400, "kind": "electric"}, "cars": [2]}'),
    (3, 'Relic', null, null);
insert into rail.cockpits values (1, 'Ost'), (2, 'West');
insert into rail.trips values
    (1, 1, 1, 2, 3.20, 120), (2, 1, 2, 1, 3.20, 110), (3, 2, 4, 3, 18.50, 60), (4, 2, 3, 2, 44.00, 60), (5, null, 4, 4, null, null);
insert into rail.passengers values (1, 'Ines', 'ines@example.com'), (2, 'Jon', null), (3, 'Kari', 'kari@example.com');
insert into rail.tickets values
    (1, 1, 1, 'second', 3.20), (2, 3, 1, 'first', 37.00), (3, 3, 2, 'second', 18.50), (4, 4, 2, 'sleeper', 80.00);
insert into rail.notices (id, station_id, body, payload) values
    (1, 1, 'The ferry is late because of fog', '{"text": "fog on the water"}'), (2, 3, 'Snow on the tracks: trains are running slowly', '{"text": "heavy snow"}'),
    (3, 3, 'No trains', null), (4, null, null, null);
insert into rail.readings values (1, '2023-07-01', 1, 21.5), (2, '2023-12-24', 3, -11), (3, '2024-07-01', 1, 24);
insert into rail.repairs values (1, 2, '2023-12-24', 'thawed'), (2, null, null, 'oiled');
insert into rail."lost & found" values (1, 'O''Hara', 'umbrella', 'x'), (2, null, 'left, glove', 'y');
insert into rail."gare à l'été" values (1, 42);
insert into rail.name values (1, 'one', 1);
insert into engine_room.faults values (1, 2, 'brake'), (2, 2, 'door');
insert into rail.tracks values (1, 1435, 1), (2, 1000, 3), (3, null, null);
insert into rail.parcels (code, depot, grams, note, station_id) values ('A1', 'north', 500, 'fragile', 1), ('B2', 'south', 2500, 'none', 3), ('C3', 'south', null, 's', null);
insert into rail.seats values (1, 1, 'taken'), (1, 2, 'free');
insert into rail.logbook values ('opened', 1), ('closed', 2);
insert into rail.vault values (1, 'box', 'gold');
insert into rail.diaries values (1, '00000000-0000-0000-0000-000000000001', 'mine'), (2, '00000000-0000-0000-0000-000000000002', 'theirs');
insert into rail.turnstiles values (1, 0, 1), (2, 0, 2);
insert into rail.guarded values (1);
insert into rail.alarms values (1, 'fire');
insert into depot.lines values (1, 'Hall A');
insert into depot.wagons values (1, 1);
refresh materialized view rail.timetable;
analyze;
