//! Policies that AWS manages: there in every account, and unchangeable.
//!
//! Those that ECS's documentation names, and the few that everybody attaches. The documents allow
//! what AWS's of the same name do for the services that are served here, and name the actions that
//! tasks of the kind need elsewhere. Source: AWS Managed Policy Reference Guide.

/// A policy that AWS manages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AwsManagedPolicy {
    /// `/` or `/service-role/`.
    pub path: &'static str,
    /// The name.
    pub name: &'static str,
    /// For people.
    pub description: &'static str,
    /// The document.
    pub document: &'static str,
}

macro_rules! allow {
    ($actions:literal) => {
        concat!(
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["#,
            $actions,
            r#"],"Resource":"*"}]}"#
        )
    };
}

/// All of them, by path and name.
pub const POLICIES: &[AwsManagedPolicy] = &[
    AwsManagedPolicy {
        path: "/",
        name: "AdministratorAccess",
        description: "Provides full access to AWS services and resources.",
        document: allow!(r#""*""#),
    },
    AwsManagedPolicy {
        path: "/",
        name: "AmazonECS_FullAccess",
        description: "Provides administrative access to Amazon ECS resources and enables ECS features through access \
                      to other AWS service resources.",
        document: concat!(
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["#,
            r#""ecs:*","servicediscovery:*","elasticloadbalancing:*","application-autoscaling:*","autoscaling:*","#,
            r#""cloudformation:CreateStack","cloudformation:DeleteStack","cloudformation:DescribeStack*","#,
            r#""cloudformation:UpdateStack","cloudwatch:DescribeAlarms","cloudwatch:GetMetricStatistics","#,
            r#""cloudwatch:PutMetricAlarm","cloudwatch:DeleteAlarms","ec2:Describe*","iam:ListAttachedRolePolicies","#,
            r#""iam:ListInstanceProfiles","iam:ListRoles","logs:CreateLogGroup","logs:DescribeLogGroups","#,
            r#""logs:FilterLogEvents"],"Resource":"*"},"#,
            r#"{"Effect":"Allow","Action":"iam:PassRole","Resource":"*","Condition":{"StringLike":"#,
            r#"{"iam:PassedToService":"ecs-tasks.amazonaws.com"}}},"#,
            r#"{"Effect":"Allow","Action":"iam:PassRole","Resource":["arn:aws:iam::*:role/ecsInstanceRole*"],"#,
            r#""Condition":{"StringLike":{"iam:PassedToService":["ec2.amazonaws.com","ec2.amazonaws.com.cn"]}}},"#,
            r#"{"Effect":"Allow","Action":"iam:CreateServiceLinkedRole","Resource":"*","Condition":{"StringLike":"#,
            r#"{"iam:AWSServiceName":["autoscaling.amazonaws.com","ecs.amazonaws.com","#,
            r#""ecs.application-autoscaling.amazonaws.com","elasticloadbalancing.amazonaws.com"]}}}]}"#
        ),
    },
    AwsManagedPolicy {
        path: "/",
        name: "AmazonRoute53FullAccess",
        description: "Provides full access to all Amazon Route 53 via the AWS Management Console.",
        document: allow!(
            r#""route53:*","route53domains:*","cloudfront:ListDistributions","elasticloadbalancing:DescribeLoadBalancers","ec2:DescribeVpcs","ec2:DescribeRegions","sns:ListTopics","cloudwatch:DescribeAlarms","cloudwatch:GetMetricStatistics""#
        ),
    },
    // Not a policy of AWS's: the reference documents attach it. It allows all of fault injection, Bowline's own too.
    AwsManagedPolicy {
        path: "/",
        name: "AWSFISFullAccess",
        description: "Bowline's own: provides full access to fault injection experiments, and to what they inject.",
        document: allow!(
            r#""fis:*","bowline:*","ssm:SendCommand","ssm:ListCommands","ssm:CancelCommand","tag:GetResources""#
        ),
    },
    AwsManagedPolicy {
        path: "/",
        name: "CloudWatchFullAccess",
        description: "Provides full access to CloudWatch.",
        document: allow!(
            r#""autoscaling:Describe*","cloudwatch:*","logs:*","sns:*","iam:GetPolicy","iam:GetPolicyVersion","iam:GetRole","oam:ListSinks""#
        ),
    },
    AwsManagedPolicy {
        path: "/",
        name: "CloudWatchLogsFullAccess",
        description: "Provides full access to CloudWatch Logs",
        document: allow!(r#""logs:*","cloudwatch:GenerateQuery""#),
    },
    AwsManagedPolicy {
        path: "/",
        name: "AmazonSSMReadOnlyAccess",
        description: "Provides read only access to Amazon SSM.",
        document: allow!(r#""ssm:Describe*","ssm:Get*","ssm:List*""#),
    },
    AwsManagedPolicy {
        path: "/",
        name: "AWSCloudMapFullAccess",
        description: "Provides full access to all AWS Cloud Map actions.",
        document: allow!(
            r#""servicediscovery:*","route53:GetHostedZone","route53:ListHostedZonesByName","route53:CreateHostedZone","route53:DeleteHostedZone","route53:ChangeResourceRecordSets","ec2:DescribeVpcs","ec2:DescribeRegions""#
        ),
    },
    AwsManagedPolicy {
        path: "/",
        name: "IAMFullAccess",
        description: "Provides full access to IAM via the AWS Management Console.",
        document: allow!(r#""iam:*","organizations:Describe*","organizations:List*""#),
    },
    AwsManagedPolicy {
        path: "/",
        name: "IAMReadOnlyAccess",
        description: "Provides read only access to IAM via the AWS Management Console.",
        document: allow!(
            r#""iam:GenerateCredentialReport","iam:GenerateServiceLastAccessedDetails","iam:Get*","iam:List*","iam:Simulate*""#
        ),
    },
    AwsManagedPolicy {
        path: "/",
        name: "PowerUserAccess",
        description: "Provides full access to AWS services and resources, but does not allow management of Users and \
                      groups.",
        document: concat!(
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","NotAction":["iam:*","organizations:*","#,
            r#""account:*"],"Resource":"*"},{"Effect":"Allow","Action":["account:GetAccountInformation","#,
            r#""account:GetPrimaryEmail","account:ListRegions","iam:CreateServiceLinkedRole","#,
            r#""iam:DeleteServiceLinkedRole","iam:ListRoles","organizations:DescribeOrganization"],"Resource":"*"}]}"#
        ),
    },
    AwsManagedPolicy {
        path: "/",
        name: "ReadOnlyAccess",
        description: "Provides read-only access to AWS services and resources.",
        document: allow!(
            r#""acm:Describe*","acm:Get*","acm:List*","acm-pca:Describe*","acm-pca:Get*","acm-pca:List*","application-autoscaling:Describe*","cloudformation:Describe*","cloudformation:Detect*","cloudformation:Estimate*","cloudformation:Get*","cloudformation:List*","cloudtrail:Describe*","cloudtrail:Get*","cloudtrail:List*","cloudtrail:LookupEvents","cloudwatch:Describe*","cloudwatch:Get*","cloudwatch:List*","ec2:Describe*","ec2:Get*","ecr:BatchCheck*","ecr:BatchGet*","ecr:Describe*","ecr:Get*","ecr:List*","ecs:Describe*","ecs:List*","elasticloadbalancing:Describe*","fis:Get*","fis:List*","iam:Generate*","iam:Get*","iam:List*","iam:Simulate*","kms:Describe*","kms:Get*","kms:List*","logs:Describe*","logs:FilterLogEvents","logs:Get*","logs:ListTagsLogGroup","logs:StartQuery","logs:StopQuery","s3:Get*","s3:List*","secretsmanager:Describe*","secretsmanager:GetResourcePolicy","secretsmanager:List*","servicediscovery:Discover*","servicediscovery:Get*","servicediscovery:List*","ssm:Describe*","ssm:Get*","ssm:List*","sts:GetAccessKeyInfo","sts:GetCallerIdentity","sts:GetSessionToken""#
        ),
    },
    AwsManagedPolicy {
        path: "/",
        name: "SecretsManagerReadWrite",
        description: "Provides read/write access to AWS Secrets Manager via the AWS Management Console.",
        document: allow!(r#""secretsmanager:*","kms:DescribeKey","kms:ListAliases","kms:ListKeys""#),
    },
    AwsManagedPolicy {
        path: "/service-role/",
        name: "AmazonEC2ContainerServiceAutoscaleRole",
        description: "Policy to enable Task Autoscaling for Amazon EC2 Container Service",
        document: allow!(
            r#""ecs:DescribeServices","ecs:UpdateService","cloudwatch:DescribeAlarms","cloudwatch:PutMetricAlarm""#
        ),
    },
    AwsManagedPolicy {
        path: "/service-role/",
        name: "AmazonEC2ContainerServiceforEC2Role",
        description: "Default policy for the Amazon EC2 Role for Amazon EC2 Container Service.",
        document: allow!(
            r#""ec2:DescribeTags","ecs:CreateCluster","ecs:DeregisterContainerInstance","ecs:DiscoverPollEndpoint","ecs:Poll","ecs:RegisterContainerInstance","ecs:StartTelemetrySession","ecs:UpdateContainerInstancesState","ecs:Submit*","ecr:GetAuthorizationToken","ecr:BatchCheckLayerAvailability","ecr:GetDownloadUrlForLayer","ecr:BatchGetImage","logs:CreateLogStream","logs:PutLogEvents""#
        ),
    },
    AwsManagedPolicy {
        path: "/service-role/",
        name: "AmazonECSInfrastructureRolePolicyForServiceConnectTransportLayerSecurity",
        description: "Provides administrative access to AWS Private Certificate Authority, Secrets Manager and other \
                      AWS Services required to manage Amazon ECS Service Connect TLS features on your behalf.",
        document: concat!(
            r#"{"Version":"2012-10-17","Statement":[{"Sid":"CreateSecret","Effect":"Allow","#,
            r#""Action":"secretsmanager:CreateSecret","Resource":"arn:aws:secretsmanager:*:*:secret:ecs-sc!*","#,
            r#""Condition":{"ArnLike":{"aws:RequestTag/AmazonECSCreated":["arn:aws:ecs:*:*:service/*/*","#,
            r#""arn:aws:ecs:*:*:task-set/*/*"]},"StringEquals":{"aws:RequestTag/AmazonECSManaged":"true","#,
            r#""aws:ResourceAccount":"${aws:PrincipalAccount}"}}},"#,
            r#"{"Sid":"TagOnCreateSecret","Effect":"Allow","Action":"secretsmanager:TagResource","#,
            r#""Resource":"arn:aws:secretsmanager:*:*:secret:ecs-sc!*","Condition":{"StringEquals":"#,
            r#"{"aws:ResourceAccount":"${aws:PrincipalAccount}"}}},"#,
            r#"{"Sid":"RotateTLSCertificateSecret","Effect":"Allow","Action":["secretsmanager:DescribeSecret","#,
            r#""secretsmanager:UpdateSecret","secretsmanager:GetSecretValue","secretsmanager:PutSecretValue","#,
            r#""secretsmanager:DeleteSecret","secretsmanager:RotateSecret","#,
            r#""secretsmanager:UpdateSecretVersionStage"],"#,
            r#""Resource":"arn:aws:secretsmanager:*:*:secret:ecs-sc!*","Condition":{"StringEquals":"#,
            r#"{"secretsmanager:ResourceTag/aws:secretsmanager:owningService":"ecs-sc","#,
            r#""aws:ResourceAccount":"${aws:PrincipalAccount}"}}},"#,
            r#"{"Sid":"ManagePrivateCertificateAuthority","Effect":"Allow","Action":["#,
            r#""acm-pca:GetCertificate","acm-pca:GetCertificateAuthorityCertificate","#,
            r#""acm-pca:DescribeCertificateAuthority"],"Resource":"*","Condition":{"StringEquals":"#,
            r#"{"aws:ResourceTag/AmazonECSManaged":"true"}}},"#,
            r#"{"Sid":"ManagePrivateCertificateAuthorityForIssuingEndEntityCertificate","Effect":"Allow","#,
            r#""Action":"acm-pca:IssueCertificate","Resource":"*","Condition":{"StringEquals":"#,
            r#"{"aws:ResourceTag/AmazonECSManaged":"true","#,
            r#""acm-pca:TemplateArn":"arn:aws:acm-pca:::template/EndEntityCertificate/V1"}}}]}"#
        ),
    },
    AwsManagedPolicy {
        path: "/service-role/",
        name: "AmazonECSTaskExecutionRolePolicy",
        description: "Provides access to other AWS service resources that are required to run Amazon ECS tasks",
        document: allow!(
            r#""ecr:GetAuthorizationToken","ecr:BatchCheckLayerAvailability","ecr:GetDownloadUrlForLayer","ecr:BatchGetImage","logs:CreateLogStream","logs:PutLogEvents""#
        ),
    },
    AwsManagedPolicy {
        path: "/service-role/",
        name: "AWSFaultInjectionSimulatorECSAccess",
        description: "Grants the Fault Injection Simulator Service permission in ECS and other required services to \
                      perform FIS actions.",
        document: allow!(
            r#""ecs:DescribeClusters","ecs:ListContainerInstances","ecs:DescribeTasks","ecs:StopTask","ecs:UpdateContainerInstancesState","ssm:SendCommand","ssm:ListCommands","ssm:CancelCommand","tag:GetResources""#
        ),
    },
];

/// Prefix of the ARNs of AWS's policies.
pub const ARN_PREFIX: &str = "arn:aws:iam::aws:policy";

impl AwsManagedPolicy {
    /// The ARN.
    pub fn arn(&self) -> String {
        format!("{ARN_PREFIX}{}{}", self.path, self.name)
    }

    /// An id that is always the same, `ANPA` and 17 more.
    pub fn id(&self) -> String {
        const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.arn().as_bytes());
        let tail = digest.as_ref().iter().take(17).map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
        format!("ANPA{}", tail.collect::<String>())
    }
}

/// The one with this ARN.
pub fn find(arn: &str) -> Option<&'static AwsManagedPolicy> {
    let rest = arn.strip_prefix(ARN_PREFIX)?;
    POLICIES.iter().find(|policy| rest.strip_prefix(policy.path) == Some(policy.name))
}

#[cfg(test)]
mod tests {
    use bowline_model::policy::{Policy, PolicyKind};

    use super::*;

    #[test]
    fn every_document_is_a_policy() {
        for policy in POLICIES {
            Policy::parse(PolicyKind::Identity, policy.document, 65_536)
                .unwrap_or_else(|error| panic!("{}: {error}", policy.name));
            assert_eq!(find(&policy.arn()), Some(policy));
            assert_eq!(policy.id().len(), 21);
        }
        assert_eq!(find("arn:aws:iam::aws:policy/AmazonECSTaskExecutionRolePolicy"), None);
    }
}
