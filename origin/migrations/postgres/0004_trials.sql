-- A revision on trial at some edges: at which ones, as JSON. NULL for one that was published.
ALTER TABLE policies ADD COLUMN trial TEXT;
-- The revision that is on trial now.
ALTER TABLE control ADD COLUMN trial_rev BIGINT;
