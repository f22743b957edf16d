-- Run as the superuser, in one batch: without the extension nothing of it is there.
create extension postgis schema toolbox;
create table rail.landmarks (id int primary key, name text, spot toolbox.geometry(Point));
insert into rail.landmarks values (1, 'Lighthouse', 'SRID=4326;POINT(1 2)'), (2, 'Windmill', 'SRID=4326;POINT(3.5 4)');
grant all on rail.landmarks to service_role, anon, authenticated;
create function rail.landmark(wanted int) returns setof rail.landmarks language sql stable
    as $$ select * from rail.landmarks where id = wanted $$;
