"""What an answer's receipt says, and how it is signed and read: counts of outcomes need no patient's row.

Imports bundle and spec. The servers issue receipts, monitoring reads them.
"""
