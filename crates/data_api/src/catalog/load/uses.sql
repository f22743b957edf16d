-- What the code in the database does with a request's settings: whether it reads request.method, .path, .headers or
-- .cookies, whether it sets response.headers or response.status, and whether it sets anything at all. Code that takes a setting's name from elsewhere may
-- do anything. Only where every change of code is told of; elsewhere both are taken for granted.
with schemas as (
    select oid from pg_catalog.pg_namespace where nspname not in ('pg_catalog', 'information_schema')
), own as (
    -- What realtime asks policies by: for its own service, and undone at once.
    select p.oid from pg_catalog.pg_proc p where p.pronamespace = pg_catalog.to_regnamespace('realtime')
        and p.proowner = pg_catalog.to_regrole('supabase_realtime_admin') and p.proname in ('put_message', 'rights')
), code (text) as (
    select p.prosrc from pg_catalog.pg_proc p where p.pronamespace in (select oid from schemas)
        and p.oid not in (select oid from own)
    union all
    select pg_catalog.pg_get_function_sqlbody(p.oid) from pg_catalog.pg_proc p where p.prosqlbody is not null
        and p.pronamespace in (select oid from schemas)
    union all
    select pg_catalog.pg_get_expr(p.proargdefaults, 0) from pg_catalog.pg_proc p where p.proargdefaults is not null
        and p.pronamespace in (select oid from schemas)
    union all
    select pg_catalog.pg_get_expr(x.expression, p.polrelid) from pg_catalog.pg_policy p
        cross join lateral (values (p.polqual), (p.polwithcheck)) x (expression)
    union all
    select pg_catalog.pg_get_viewdef(c.oid) from pg_catalog.pg_class c where c.relkind in ('v', 'm')
        and c.relnamespace in (select oid from schemas)
    union all
    select pg_catalog.pg_get_expr(d.adbin, d.adrelid) from pg_catalog.pg_attrdef d
    union all
    select t.typdefault from pg_catalog.pg_type t where t.typdefault is not null
    union all
    select pg_catalog.pg_get_constraintdef(c.oid) from pg_catalog.pg_constraint c where c.contype = 'c'
    union all
    select pg_catalog.pg_get_triggerdef(t.oid) from pg_catalog.pg_trigger t where t.tgqual is not null
    union all
    select pg_catalog.pg_get_ruledef(r.oid) from pg_catalog.pg_rewrite r join pg_catalog.pg_class c on c.oid = r.ev_class
        where r.rulename <> '_RETURN' and c.relnamespace in (select oid from schemas)
), uses as (
    select
        pg_catalog.bool_or(pg_catalog.regexp_replace(text, 'request\.jwt\.claim', '', 'gi') ~* 'request\.') as request,
        pg_catalog.bool_or(text ilike '%response.%') as response,
        pg_catalog.bool_or(text ~* '(current_setting|set_config)"?\s*\((?!\s*''[^'']*''(::text)?\s*[,)])' or text ilike '%pg_settings%') as any_name,
        pg_catalog.bool_or(text ilike '%set_config%' or text ~* '\mset\s+(local|session|role)\M'
            or text ~* '(^|[;''$]|>>|[*]/|--[^\n]*\n|\m(begin|then|else|loop)\M)\s*(set|reset|discard)\s'
            or text ~* '["`](set|reset|discard)\s') as sets
    from code
), watched as (
    select count(*) > 0 as it from pg_catalog.pg_event_trigger
    where evtname = 'pgrst_ddl_watch' and evtenabled in ('O', 'A') and 'CREATE POLICY' = any (evttags)
)
select pg_catalog.json_build_object(
    'request', not watched.it or coalesce(uses.request or uses.any_name, false) or 'pg_catalog' = any ($1::text[]),
    'response', not watched.it or coalesce(uses.response or uses.any_name, false) or 'pg_catalog' = any ($1::text[]),
    'sets', not watched.it or coalesce(uses.sets, false) or 'pg_catalog' = any ($1::text[]),
    'watched', watched.it
)
from uses, watched
