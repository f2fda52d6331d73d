-- Who an owner is, and who answers after them.
ALTER TABLE owners ADD COLUMN bound_to TEXT;
ALTER TABLE owners ADD COLUMN successor TEXT;
