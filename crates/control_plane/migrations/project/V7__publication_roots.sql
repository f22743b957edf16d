-- Rows of partitions come as rows of the table that was published, whose policies decide who sees them.
do $$
begin
    if exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime') then
        alter publication supabase_realtime set (publish_via_partition_root = true);
    end if;
end
$$;
