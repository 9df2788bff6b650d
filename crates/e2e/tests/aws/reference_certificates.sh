#!/usr/bin/env bash
# Every command line of the reference documents for `aws acm`, as reference_commands.sh has the others.
#
# Needs AWS_ENDPOINT_URL and openssl. Works in an empty directory.
set -e

region=us-east-1

# ---- Certificates of the notes

# added: the openssl lines that stand before the imports (service-connect-notes.md:1786 to 2360)
subject=/C=US/ST=CA/L=SanFrancisco/O=MyCompany
for name in backend frontend server; do
  openssl genrsa -out $name.key 4096
  openssl req -new -key $name.key -out $name.csr -subj "$subject/CN=$name-service.my-namespace.local"
  openssl x509 -req -days 365 -in $name.csr -signkey $name.key -out $name.crt
done
openssl genrsa -out rootCA.key 4096
openssl req -x509 -new -nodes -key rootCA.key -sha256 -days 3650 -out rootCA.crt -subj "$subject/OU=IT/CN=mycompany.com"
for name in serviceA serviceB; do
  openssl genrsa -out $name.key 4096
  openssl req -new -key $name.key -out $name.csr -subj "$subject/CN=$name.local"
  openssl x509 -req -in $name.csr -CA rootCA.crt -CAkey rootCA.key -CAcreateserial -out $name.crt -days 365 -sha256
done

# from: service-connect-notes.md:1799
aws acm import-certificate --certificate fileb://backend.crt --private-key fileb://backend.key --region $region

# from: service-connect-notes.md:1906
aws acm import-certificate --certificate fileb://frontend.crt --private-key fileb://frontend.key --region $region

# from: service-connect-notes.md:2105
aws acm import-certificate --certificate fileb://backend.crt --private-key fileb://backend.key --region $region

# from: service-connect-notes.md:2111
aws acm import-certificate --certificate fileb://frontend.crt --private-key fileb://frontend.key --region $region

# from: service-connect-notes.md:2210
aws acm import-certificate --certificate fileb://server.crt --private-key fileb://server.key --region $region

# from: service-connect-notes.md:2373
aws acm import-certificate --certificate fileb://rootCA.crt --private-key fileb://rootCA.key --certificate-chain fileb://rootCA.crt --region $region

# from: service-connect-notes.md:2383
aws acm import-certificate --certificate fileb://serviceA.crt --private-key fileb://serviceA.key --certificate-chain fileb://rootCA.crt --region $region

# from: service-connect-notes.md:2390
aws acm import-certificate --certificate fileb://serviceB.crt --private-key fileb://serviceB.key --certificate-chain fileb://rootCA.crt --region $region
