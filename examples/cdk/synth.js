// Synthesises the programs into templates/, as `cdk synth` does.
const cdk = require('aws-cdk-lib');
const fs = require('fs');
const path = require('path');
const { Chapter11Stack } = require('./chapter11');
const { SecureEndpointsStack } = require('./chapter13');
const { MeshStack } = require('./mesh');

const app = new cdk.App({ outdir: fs.mkdtempSync(path.join(require('os').tmpdir(), 'cdk-')) });
new Chapter11Stack(app, 'Chapter11Stack');
new SecureEndpointsStack(app, 'SecureEndpointsStack');
new MeshStack(app, 'CdkMesh');
const assembly = app.synth();
const target = path.join(__dirname, 'templates');
fs.mkdirSync(target, { recursive: true });
for (const stack of assembly.stacks) {
  fs.writeFileSync(path.join(target, `${stack.stackName}.json`), JSON.stringify(stack.template, null, 2) + '\n');
}
