#!/usr/bin/env bash
# Every command line of the reference documents for `aws ecs`, `servicediscovery` and `iam`, with its
# placeholders filled in. `from:` names the document and line that the next command comes from; `corrected`,
# that the line as it stands there is refused, or does not say what it means to: docs/src/reference-commands.md
# has the error and the correction. `added` commands make what the documents take for granted.
#
# Needs AWS_ENDPOINT_URL, and a server started with `--exec python-container='sleep 1000'`. Works in an empty
# directory.

account=000000000000
region=us-east-1
vpc=vpc-0a1b2c3d4e5f60718
subnet=subnet-0a1b2c3d4e5f60718
security_group=sg-0a1b2c3d4e5f60718

# ---- The Redis application of the notes

# from: service-connect-notes.md:427
aws ecs create-cluster --cluster-name python-ecs-cluster

cat > task-def.json <<EOF
{
  "family": "python-ecs-task",
  "networkMode": "awsvpc",
  "executionRoleArn": "arn:aws:iam::$account:role/ecsTaskExecutionRole",
  "containerDefinitions": [
    {
      "name": "python-container",
      "image": "$account.dkr.ecr.$region.amazonaws.com/python-ecs-demo",
      "memory": 512,
      "cpu": 256,
      "essential": true,
      "portMappings": [{"containerPort": 5000, "hostPort": 5000}],
      "environment": [
        {"name": "REDIS_HOST", "value": "my-redis.xyz.cache.amazonaws.com"},
        {"name": "REDIS_PORT", "value": "6379"}
      ]
    }
  ],
  "requiresCompatibilities": ["FARGATE"],
  "cpu": "256",
  "memory": "512"
}
EOF
# from: service-connect-notes.md:469
aws ecs register-task-definition --cli-input-json file://task-def.json

# from: service-connect-notes.md:474
aws ecs run-task --cluster python-ecs-cluster --launch-type FARGATE --task-definition python-ecs-task --network-configuration "awsvpcConfiguration={subnets=[$subnet],securityGroups=[$security_group],assignPublicIp=\"ENABLED\"}"

# added: the notes leave the task's id to be found
task=$(aws ecs list-tasks --cluster python-ecs-cluster --query 'taskArns[0]' --output text)
task_id=${task##*/}
# from: service-connect-notes.md:482
aws ecs describe-tasks --cluster python-ecs-cluster --tasks "$task_id"
# added: a cluster with tasks is not deleted
aws ecs stop-task --cluster python-ecs-cluster --task "$task_id"

# ---- Fault injection

cat > trust-policy.json <<EOF
{
  "Version": "2012-10-17",
  "Statement": [
    {"Effect": "Allow", "Principal": {"Service": "fis.amazonaws.com"}, "Action": "sts:AssumeRole"}
  ]
}
EOF
# from: service-connect-notes.md:1004
aws iam create-role --role-name FIS-Experiment-Role --assume-role-policy-document file://trust-policy.json

# ---- Frontend and backend over TLS

# from: service-connect-notes.md:1773
aws servicediscovery create-private-dns-namespace \
  --name my-namespace.local \
  --vpc $vpc \
  --region $region

# added: the cluster, with the namespace as its default
aws ecs create-cluster --cluster-name my-cluster --service-connect-defaults namespace=my-namespace.local

# The backend answers with its own name.
cat > backend-task-def.json <<'EOF'
{
  "family": "backend-task-def",
  "networkMode": "awsvpc",
  "containerDefinitions": [
    {
      "name": "backend",
      "image": "python:3",
      "command": [
        "python3", "-c",
        "import http.server as h\nclass Answer(h.BaseHTTPRequestHandler):\n    def do_GET(self):\n        self.send_response(200)\n        self.end_headers()\n        self.wfile.write(b'the backend')\nh.ThreadingHTTPServer(('', 8443), Answer).serve_forever()"
      ],
      "portMappings": [{"name": "https", "containerPort": 8443, "appProtocol": "http"}]
    }
  ]
}
EOF
# from: service-connect-notes.md:1814, corrected
aws ecs register-task-definition --cli-input-json file://backend-task-def.json

# The frontend is healthy while the backend answers to the alias. The notes ask by https:// and --insecure
# (service-connect-notes.md:1882); between the two sidecars it is TLS either way.
cat > frontend-task-def.json <<'EOF'
{
  "family": "frontend-task-def",
  "networkMode": "awsvpc",
  "containerDefinitions": [
    {
      "name": "frontend",
      "image": "python:3",
      "command": ["python3", "-m", "http.server", "8443"],
      "portMappings": [{"name": "https", "containerPort": 8443, "appProtocol": "http"}],
      "healthCheck": {
        "command": ["CMD-SHELL", "curl -sf http://backend-service.my-namespace.local:443 | grep -q 'the backend'"],
        "interval": 5
      }
    }
  ]
}
EOF
# from: service-connect-notes.md:1838, corrected
aws ecs register-task-definition --cli-input-json file://frontend-task-def.json

cat > backend-connect.json <<'EOF'
{
  "enabled": true,
  "namespace": "my-namespace.local",
  "services": [{"portName": "https", "discoveryName": "backend-service", "clientAliases": [{"port": 443}]}]
}
EOF
# from: service-connect-notes.md:1857, corrected
aws ecs create-service \
  --cluster my-cluster \
  --service-name backend-service \
  --task-definition backend-task-def \
  --desired-count 1 \
  --network-configuration "awsvpcConfiguration={subnets=[$subnet],securityGroups=[$security_group],assignPublicIp=DISABLED}" \
  --service-connect-configuration file://backend-connect.json

cat > frontend-connect.json <<'EOF'
{
  "enabled": true,
  "namespace": "my-namespace.local",
  "services": [{"portName": "https", "discoveryName": "frontend-service", "clientAliases": [{"port": 443}]}]
}
EOF
# from: service-connect-notes.md:1867, corrected
aws ecs create-service \
  --cluster my-cluster \
  --service-name frontend-service \
  --task-definition frontend-task-def \
  --desired-count 1 \
  --network-configuration "awsvpcConfiguration={subnets=[$subnet],securityGroups=[$security_group],assignPublicIp=DISABLED}" \
  --service-connect-configuration file://frontend-connect.json

# ---- The TLS demo's README, on what its Terraform makes

# added: the cluster and its two services
aws ecs create-cluster --cluster-name fast-api-cluster --service-connect-defaults namespace=fast-api-namespace
for service in a:8201 b:8202; do
  name=service-${service%:*}
  port=${service#*:}
  cat > $name.json <<EOF
{
  "family": "$name",
  "networkMode": "awsvpc",
  "containerDefinitions": [
    {
      "name": "$name",
      "image": "$account.dkr.ecr.us-east-2.amazonaws.com/fast-api-${service%:*}-ecr-repository:latest",
      "command": ["python3", "-m", "http.server", "$port"],
      "portMappings": [{"name": "$name-port", "containerPort": $port, "appProtocol": "http"}]
    }
  ]
}
EOF
  aws ecs register-task-definition --cli-input-json file://$name.json --query taskDefinition.taskDefinitionArn
  aws ecs create-service --cluster fast-api-cluster --service-name $name --task-definition $name --desired-count 1 \
    --query service.serviceArn --service-connect-configuration \
    "enabled=true,services=[{portName=$name-port,discoveryName=$name-sc,clientAliases=[{port=$port,dnsName=$name-sc}]}]"
done

# from: tls-demo-readme.md:194
aws ecs describe-services \
  --cluster fast-api-cluster \
  --services service-a service-b

# from: tls-demo-readme.md:199
aws ecs list-tasks --cluster fast-api-cluster

# from: tls-demo-readme.md:291, corrected
aws ecs describe-services \
  --cluster fast-api-cluster \
  --services service-a \
  --query 'services[0].deployments[0].serviceConnectConfiguration'

# from: tls-demo-readme.md:319
aws ecs describe-services \
  --cluster fast-api-cluster \
  --services service-a service-b \
  --query 'services[*].{Name:serviceName,Running:runningCount,Desired:desiredCount}'

# from: tls-demo-readme.md:325
aws ecs describe-tasks \
  --cluster fast-api-cluster \
  --tasks $(aws ecs list-tasks --cluster fast-api-cluster --query 'taskArns[]' --output text)

# from: tls-demo-readme.md:340
aws ecs list-clusters --query 'clusterArns[?contains(@, `fast-api`)]'

# ---- The notes' clean-up

# added: a cluster with tasks is not deleted
aws ecs wait tasks-stopped --cluster python-ecs-cluster --tasks "$task_id"
# from: service-connect-notes.md:495
aws ecs delete-cluster --cluster python-ecs-cluster
