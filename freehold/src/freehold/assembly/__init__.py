"""The only place that constructs objects and joins them: each module reads like a parts list, and knows only those above it here.

foundation   settings, clock, and what survives the engine
resources    what apps use: files, images' mounts, secrets, volumes, tokens
work         tasks, the inputs that they take, and who is woken by what
catalog      apps, functions and images, what is deployed, where and when it is called
insight      what is known of what happened
serving      how calls and requests come in, and what is started for them
control      these six, joined: the control plane
machine      this machine's worker
controllers  what each of them compares, and when
health       how the engine itself is
pages        what people and programs see over HTTP
rpcs         what clients, containers and the command call
engine       all of it: started in order, stopped in reverse
"""
