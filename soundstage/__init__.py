"""A small real streaming platform with faults and their ground truth. Imports no other room; none imports it."""
