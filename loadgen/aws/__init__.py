"""The real service: an Event API of one's own on AWS, made and removed as one stack; as a target; and its metrics.

Everything that speaks to AWS's control plane is here. boto3 is an extra (`pip install 'fanout-loadgen[aws]'`) and is
imported only where it is used.
"""
