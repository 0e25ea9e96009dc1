"""What this machine makes of pictures, stage by stage, without internet: the command `bench`.

`material` makes pictures, `server` serves them, `measures` are what is measured, `child` runs one of them in a process of its
own, `plan` runs them all, `verdict` says what it means.
"""
